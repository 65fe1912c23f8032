"""Adapters without a network: configuration, the registry, reading a bill."""
