"""The events of commands: those of a gateway that are given together are one errand (docs/adr/0014)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from backend.control.command_rules import together
from backend.control.commands import Command

TOPIC = "command.due"


def errands(
    commands: Sequence[Command], gateways: Mapping[UUID, UUID]
) -> dict[str, dict[str, str]]:
    """Events of commands of one kind that are given together, by their keys, as few as may be: a worker
    serves the commands of one in one go. `gateways`: by meter."""
    at_gateway = defaultdict[UUID, list[Command]](list)
    for each in commands:
        at_gateway[gateways[each.meter_id]].append(each)
    events = dict[str, dict[str, str]]()
    for found in at_gateway.values():
        most = together(found[0].kind)
        for n in range(0, len(found), most):
            some = [each.id for each in found[n : n + most]]
            events |= _errand(some) if len(some) > 1 else events_alone(some)
    return events


def _errand(command_ids: Sequence[UUID]) -> dict[str, dict[str, str]]:
    ids = ",".join(map(str, command_ids))
    return {f"{command_ids[0]}+{len(command_ids)}": {"command_ids": ids}}


def events_alone(command_ids: Iterable[UUID]) -> dict[str, dict[str, str]]:
    """An event for each command, by its key."""
    return {str(each): {"command_id": str(each)} for each in command_ids}


def commands_told(payload: Mapping[str, str]) -> list[UUID]:
    """The commands that an event is of."""
    told = payload.get("command_ids") or payload["command_id"]
    return [UUID(each) for each in told.split(",")]
