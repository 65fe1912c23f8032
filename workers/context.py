"""What every job of a worker process holds."""

from __future__ import annotations

from dataclasses import dataclass

from backend.journeys.ports import Ports
from backend.metering.retention import DEFAULT_RETENTION, Retention
from workers.buses import Buses


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Ports to the outside, the buses of this process, and how long history is kept."""

    ports: Ports
    buses: Buses
    retention: Retention = DEFAULT_RETENTION
