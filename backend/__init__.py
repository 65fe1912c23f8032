"""The core: what is true, and the adapters to the outside."""
