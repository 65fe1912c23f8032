"""A meter model is data: one TOML file each, checked by schema.json and by `check_profile`."""
