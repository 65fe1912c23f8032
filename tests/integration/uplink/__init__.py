"""The sealed uplink over a real broker, with gateways of two groups."""
