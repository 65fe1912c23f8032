"""Where rooms meet: sign in, bind, top up, settle, vend, resolve. The only place that joins them."""
