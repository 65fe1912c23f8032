"""The demo: everything on this machine, with stand-ins and a simulated site, and a check of the main job."""
