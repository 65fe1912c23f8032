"""The cloud's keeping of gateways' claims and root keys: who may enrol, which keys are good, since when."""
