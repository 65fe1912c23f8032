"""Places, accounts (户), customers and their bindings; open, bind, unbind."""
