"""Contracts: our adapters with the real SDKs against the stand-ins, over real sockets."""
