"""Run a virtual site with its control page until cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from backend.kernel.clock import Clock

from .control import control_app
from .dialin import VirtualDtu
from .plan import GatewayPlan
from .site import VirtualSite

_REDIAL_S = 2.0


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process that holds us handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


@contextlib.asynccontextmanager
async def _dialling(plans: Iterable[GatewayPlan], site: VirtualSite) -> AsyncIterator[None]:
    """The DTUs of a site dial, and dial again, as long as it stands."""
    async with contextlib.AsyncExitStack() as stack:
        for plan in plans:
            if plan.dial is None:
                continue
            gateway, dial = site.gateways[plan.serial], plan.dial
            dtu = VirtualDtu(
                server=(dial.host, dial.port),
                bus=(gateway.host, gateway.port),
                registration=dial.registration,
                heartbeat=dial.heartbeat,
            )
            task = asyncio.create_task(dtu.run(redial_s=_REDIAL_S, beat_s=dial.every_s))
            stack.push_async_callback(_ended, task)
        yield


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def serve_site(
    plan: Iterable[GatewayPlan],
    *,
    data_dir: Path,
    clock: Clock,
    control_port: int = 0,
    ready: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Serve the site and its control page (127.0.0.1:`control_port`, 0: any free) until cancelled.

    `ready` is told the ports: `{"control": 8123, "gateways": {"GW-1": 15020}}`, and where there are
    serial lines `"lines": {"GW-1": "/dev/pts/4"}`. Raises OSError when a port is taken.
    """
    plans = tuple(plan)
    async with VirtualSite(plans, data_dir=data_dir, clock=clock) as site, _dialling(plans, site):
        with socket.create_server(("127.0.0.1", control_port)) as listener:
            server = _Server(uvicorn.Config(control_app(site), log_level="warning", lifespan="off"))
            if ready is not None:
                ports = {gateway.serial: gateway.port for gateway in site.gateways.values()}
                told = {"control": listener.getsockname()[1], "gateways": ports}
                lines = {serial: line.path for serial, line in site.lines.items()}
                ready(told | ({"lines": lines} if lines else {}))
            try:
                await server.serve(sockets=[listener])
            except asyncio.CancelledError:
                await server.shutdown(sockets=[listener])
                raise
