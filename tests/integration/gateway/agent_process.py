"""`python -m tests.integration.gateway.agent_process DATA SITE PORT`: an agent in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from backend.kernel.clock import SystemClock
from workers.gateway.agent import Agent
from workers.gateway.lock import alone_in
from workers.gateway.pace import MachineTime
from workers.gateway.site import load_site
from workers.gateway.talk import TalkTiming

from .wire import WireLine

TIMING = TalkTiming(welcome_s=2.0, stored_s=2.0, gather_s=0.0, rate_per_s=1e6)


async def _serve(data: Path, site: Path, port: int) -> None:
    agent = Agent(
        data=data,
        site=load_site(site),
        connect=lambda: WireLine("127.0.0.1", port),
        pace=MachineTime(SystemClock()),
        timing=TIMING,
    )
    await agent.run()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with alone_in(folder):
        asyncio.run(_serve(folder, Path(sys.argv[2]), int(sys.argv[3])))
