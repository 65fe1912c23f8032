"""Groups, projects, operators, roles, sessions, credentials; the doors by which they are reached."""
