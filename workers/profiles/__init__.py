"""A meter model is data: one TOML file each, checked by the schema of its protocol and by `check_profile`."""
