"""Protocols of dialled-in lines, without sockets."""
