"""What every job of a worker process holds."""

from __future__ import annotations

from dataclasses import dataclass

from backend.journeys.ports import Ports
from workers.buses import Buses


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Ports to the outside and the buses of this process."""

    ports: Ports
    buses: Buses
