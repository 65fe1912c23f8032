"""The agent on site, against real buses, real seals and a cloud that can be made to fail."""
