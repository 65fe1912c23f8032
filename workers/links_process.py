"""`shuidian links` as a whole: dial-in lines, and the sealed uplink when a broker is set."""

from __future__ import annotations

import asyncio

from backend.journeys.gateway_keys import open_desk
from backend.kernel.clock import Clock
from backend.kernel.secrets import SecretBox
from backend.kernel.settings import Settings
from workers.concentrator import Joined, run_links
from workers.links.broker import Broker
from workers.links.mqtt import MqttTrunk
from workers.uplink_host import UplinkHost
from workers.uplink_inbox import UplinkRecords
from workers.upload_inbox import Uploads


async def run_links_process(
    settings: Settings, *, clock: Clock, stop: asyncio.Event | None = None
) -> None:
    """Run until SIGTERM or SIGINT (or `stop`). Raises InvalidInput for settings that are missing."""
    joined = Joined(inbox=Uploads())
    if settings.mqtt_url:
        box = SecretBox(settings.secret_keys)
        desk = open_desk(dsn=settings.database_url, box=box)
        host = UplinkHost(
            trunk=MqttTrunk(Broker.of(settings.mqtt_url)),
            desk=desk,
            inbox=UplinkRecords(desk),
            clock=clock,
        )
        joined = Joined(inbox=Uploads(), command=host.answer, part=host.run)
    await run_links(settings, clock=clock, stop=stop, joined=joined)
