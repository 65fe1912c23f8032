"""Readings of the simulation's cloud meters: kept by their gateway, sent late and in any order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from backend.uplink.message import Read, RelayState
from workers.uplink_inbox import UplinkRecords

from .sim_outside import SimField, of_cloud
from .sim_stage import Stage
from .sim_world import SimGroup

_STEP_WH = 10  # what a meter's register shows


@dataclass(frozen=True)
class _Kept:
    group: SimGroup
    read: Read


class Mailbag:
    """What gateways have read and not delivered."""

    def __init__(self, stage: Stage, field: SimField) -> None:
        self._stage = stage
        self._field = field
        self._kept: list[_Kept] = []
        self._frames = 0
        self._inbox = UplinkRecords(desk=None)  # type: ignore[arg-type]  # refusals are another test

    async def look(self) -> str:
        """A gateway reads one of its cloud meters."""
        group = self._stage.group()
        serial = self._stage.draw.choice([each for each in group.serials if of_cloud(each)])
        return f"{self._look(group, serial)} Wh"

    def look_at_all(self) -> None:
        """Read every cloud meter now."""
        for group in self._stage.groups:
            for serial in group.serials:
                if of_cloud(serial):
                    self._look(group, serial)

    def _look(self, group: SimGroup, serial: str) -> int:
        meter: Any = next(each for each in self._field.meters() if each.serial == serial)
        total: int = meter.state().shown_wh()[0]
        self._frames += 1
        read = Read(
            at=self._stage.clock.now(),
            relay=RelayState.CLOSED,
            energy_wh=total - total % _STEP_WH,
            meter=serial,
            frame_no=self._frames,
        )
        self._kept.append(_Kept(group, read))
        return total

    async def send(self) -> str:
        """Some of what a gateway kept arrives; what was not answered is sent again."""
        group = self._stage.group()
        mine = [kept for kept in self._kept if kept.group is group]
        mine = self._stage.draw.sample(mine, self._stage.draw.randint(0, min(4, len(mine))))
        if not mine:
            return "nothing"
        await self._deliver(group, mine)
        return str(len(mine))

    async def send_all(self) -> None:
        """All that is kept arrives."""
        for group in self._stage.groups:
            mine = [kept for kept in self._kept if kept.group is group]
            if mine:
                await self._deliver(group, mine)

    async def _deliver(self, group: SimGroup, mine: list[_Kept]) -> None:
        at = self._stage.clock.now() + timedelta(seconds=1)
        await self._inbox.readings(group.gateway, [kept.read for kept in mine], at)
        for kept in mine:
            self._kept.remove(kept)
