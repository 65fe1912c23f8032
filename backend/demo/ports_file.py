"""Ports that stay the same over restarts of a demo, so that links and gateway addresses stay good."""

from __future__ import annotations

import json
from pathlib import Path

from backend.sandbox.embedded.child import free_port, is_free


def remembered_ports(path: Path, names: list[str]) -> dict[str, int]:
    """A free loopback port for each name; the one of last time where it is still free."""
    known: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    ports: dict[str, int] = {}
    for name in names:
        port = known.get(name, 0)
        while not port or not is_free(port) or port in ports.values():
            port = free_port()
        ports[name] = port
    path.write_text(json.dumps(ports))
    return ports
