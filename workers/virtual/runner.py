"""Run a virtual site with its control page until cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from backend.kernel.clock import Clock

from .control import control_app
from .site import GatewayPlan, VirtualSite


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process that holds us handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


async def serve_site(
    plan: Iterable[GatewayPlan],
    *,
    data_dir: Path,
    clock: Clock,
    control_port: int = 0,
    ready: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Serve the site and its control page (127.0.0.1:`control_port`, 0: any free) until cancelled.

    `ready` is told the ports: `{"control": 8123, "gateways": {"GW-1": 15020}}`. Raises OSError when
    a port is taken.
    """
    async with VirtualSite(plan, data_dir=data_dir, clock=clock) as site:
        with socket.create_server(("127.0.0.1", control_port)) as listener:
            server = _Server(uvicorn.Config(control_app(site), log_level="warning", lifespan="off"))
            if ready is not None:
                ports = {gateway.serial: gateway.port for gateway in site.gateways.values()}
                ready({"control": listener.getsockname()[1], "gateways": ports})
            try:
                await server.serve(sockets=[listener])
            except asyncio.CancelledError:
                await server.shutdown(sockets=[listener])
                raise
