"""Virtual meters and gateways: byte-exact, with a wallet that survives, with faults on demand."""
