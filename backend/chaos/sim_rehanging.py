"""Meters that change in the simulation: one that holds money is replaced, a household moves to another room.

Whose request dies with the process asks again with the same key.
"""

from __future__ import annotations

from uuid import UUID

from backend.journeys.takedown import Ask, move_account, replace_meter
from workers.models import meter_models

from .sim_office import outcome_of
from .sim_stage import Stage
from .sim_world import METERS_A_GROUP, SimGroup


class Rehanging:
    """Once a group: its first meter is replaced by the spare one that holds money, and its fourth household
    moves to the room with the other."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._models = meter_models()
        self._keys: dict[tuple[int, str], str] = {}

    async def replace(self) -> str:
        """Another meter for the first account: its money follows."""
        group = self._stage.group()
        ask = self._ask(group, "replace")
        old, new = group.meters[0], group.meters[-2]
        return await outcome_of(
            replace_meter(scope=group.asks, meter_id=old, to_meter_id=new, ask=ask)
        )

    async def move(self) -> str:
        """The second household whose money the cloud holds moves: its account and its money go along."""
        group = self._stage.group()
        place = METERS_A_GROUP + 1
        to: dict[UUID, UUID] = {group.meters[place]: group.meters[-1]}
        return await outcome_of(
            move_account(
                scope=group.asks,
                account_id=group.accounts[place],
                area_id=group.room,
                meters_to=to,
                cut=False,
                ask=self._ask(group, "move"),
            )
        )

    def _ask(self, group: SimGroup, what: str) -> Ask:
        key = self._keys.setdefault((group.id, what), self._stage.key(f"{what}-it"))
        return Ask(group.asks.actor, "as agreed", key, self._models, self._stage.clock.now())
