"""WeChat official account: what comes in (verified), what goes out (sealed), the menu."""
