"""What meters send unasked on weak lines: kept as readings of the meter that the gateway holds.

The 4G meter sends the answer to its own prepaid poll (reference/meter-protocols.md sections 5.2, 6.1); it
is decoded by the profile of the meter registered there. The line proves nothing about who sends, so a
reading is held to the same plausibility as any other, and commands never depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from backend.kernel.db import unit_of_work
from backend.kernel.errors import InvalidInput, NotFound
from backend.metering import queries as metering
from backend.metering.models import Meter
from backend.metering.readings import store_readings
from workers.drivers.modbus import decode_snapshot
from workers.drivers.ports import MeterSnapshot
from workers.links.dialin.ports import DialInRow
from workers.profiles.loader import profile_of
from workers.profiles.modbus_map import ModbusMap
from workers.protocols import modbus
from workers.recording import SaidBeside, note_beside, reading_of


class Uploads:
    """The UploadInbox of the concentrator, on PostgreSQL."""

    async def uploaded(
        self, gateway: DialInRow, address: int, registers_frame: bytes, at: datetime, /
    ) -> None:
        """See UploadInbox.uploaded. Raises NotFound (no such meter there), InvalidInput (not a block of
        its profile), FrameError, WrongModel."""
        async with unit_of_work(gateway.group_id) as work:
            meters = await metering.meters_of_gateway(work, gateway_id=gateway.gateway_id)
        meter = next((each for each in meters if each.bus_address == str(address)), None)
        if meter is None:
            raise NotFound(f"no meter is registered at address {address} of this gateway")
        snapshot = _decoded(meter, modbus.registers_of(registers_frame))
        async with unit_of_work(gateway.group_id) as work:
            await store_readings(work, readings=[reading_of(meter.id, snapshot, at)])
            beside = SaidBeside()
            beside.hear(meter.id, snapshot)
            await note_beside(work, beside, at)

    async def reported(
        self, gateway: DialInRow, meter: str, values: Mapping[str, str], at: datetime, /
    ) -> None:
        """An Acrel gateway's own text report. Raises InvalidInput: its function names are known, their
        units are not (one open system only), so they are not taken for registers; we poll instead."""
        raise InvalidInput(f"reports of {gateway.link} are not kept: poll the meter {meter}")


def _decoded(meter: Meter, registers: bytes) -> MeterSnapshot:
    layout = profile_of(meter.profile).map
    if not isinstance(layout, ModbusMap):
        raise InvalidInput(f"{meter.profile} does not speak Modbus")
    block = next((b for b in layout.blocks if 2 * b.count == len(registers)), None)
    if block is None:
        raise InvalidInput(f"{len(registers) // 2} registers are no block of {meter.profile}")
    return decode_snapshot(layout, {block.name: registers})
