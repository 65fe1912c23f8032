"""The agent on site: its pure and local parts."""
