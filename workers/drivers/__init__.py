"""Meters as the product sees them: read, credit, switch; built from a profile and an exchange."""
