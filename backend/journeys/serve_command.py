"""A command's way to its meter, in short steps that commit (C12, C19): taken, announced, ended.

Steps of a group that come while others commit go together in the next commit: ten thousand commands of a
batch are not thirty thousand commits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.audit.operations import record_all
from backend.control import command_steps as steps
from backend.control import supplies
from backend.control.command_rules import CommandKind, CommandState, Family, family_of
from backend.control.command_steps import End, Writing
from backend.control.commands import Command
from backend.control.supply_rules import Force
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.together import TogetherByGroup
from backend.metering.on_buses import MeterOnBus, meters_on_buses
from backend.metering.readings import Reading, store_readings

from .command import WORKER, end_entry, expire
from .supply_again import not_meant
from .switched import note_switched

# What a supply has to take back one day.
_FORCES = frozenset({CommandKind.TRIP, CommandKind.KEEP_POWER})


@dataclass(frozen=True, slots=True)
class CommandWork:
    """What the worker needs to serve one command."""

    command: Command
    meter: MeterOnBus


async def take(*, group_id: int, command_id: UUID, at: datetime) -> CommandWork | None:
    """The command to serve, or None when there is nothing to do: it ended, or ends here because its
    time is over."""
    return await _takes(group_id, (command_id, at))


async def _take_all(
    group_id: int, asked: Sequence[tuple[UUID, datetime]]
) -> list[CommandWork | None]:
    # An end for being late that a crash of PostgreSQL forgets is noted by the next who takes it.
    async with unit_of_work(group_id, durable=False, by_key=True) as work:
        command_ids = [command_id for command_id, _ in asked]
        found = await steps.unfinished_of(work, command_ids=command_ids)
        at_of = dict(asked)
        over = [each for each in found.values() if at_of[each.id] >= each.over_at]
        for command in over:
            del found[command.id]
        await expire(work, over, asked[-1][1])
        meter_ids = [each.meter_id for each in found.values()]
        meters = await meters_on_buses(work, meter_ids=meter_ids)
    return [
        None if command is None else CommandWork(command, meters[command.meter_id])
        for command in map(found.get, command_ids)
    ]


_takes = TogetherByGroup(_take_all)


async def about_to_write(
    *, group_id: int, command_id: UUID, writes: int, relay_closed: bool | None, at: datetime
) -> Command | None:
    """Commit that a write may reach the meter, before it leaves. `writes`: how many there were, as it was
    taken; `relay_closed`: as just read.

    None: the command ended, expired or was written by another meanwhile, or is a trip that is not meant any
    more, so nothing may be written.
    """
    return await _announcements(group_id, Writing(command_id, writes, relay_closed, at))


async def _announce_all(group_id: int, writes: Sequence[Writing]) -> list[Command | None]:
    async with unit_of_work(group_id, by_key=True) as work:
        command_ids = [write.command_id for write in writes]
        await supplies.lock_supplies_of_commands(work, command_ids=command_ids)
        found = await steps.lock_unfinished(work, command_ids=command_ids)
        live, over = list[Writing](), list[Command]()
        for write in writes:
            command = found.get(write.command_id)
            if command is None or command.writes != write.writes:
                continue
            if write.at < command.expires_at:
                live.append(write)
            elif write.at >= command.over_at:
                over.append(command)
        await expire(work, over, writes[-1].at)
        of_live = [found[write.command_id] for write in live]
        idle = await not_meant(work, commands=of_live, at=writes[-1].at)
        if idle:
            await _call_off(work, idle, writes[-1].at)
            live = [write for write in live if write.command_id not in idle]
        written = await steps.mark_writing(work, writes=live)
        forces = {
            each.meter_id: (Force(each.kind, each.why), each.sent_at)
            for each in written.values()
            if each.why is not None and each.sent_at is not None and each.kind in _FORCES
        }
        if forces:
            await supplies.note_written(work, forces=forces)
    return [written.get(command_id) for command_id in command_ids]


async def _call_off(work: UnitOfWork, idle: Mapping[UUID, str], at: datetime) -> None:
    """End trips that are not meant any more: nothing more is written of them."""
    ends = [End(each, CommandState.SUPERSEDED, why, None, at) for each, why in idle.items()]
    ended = await steps.end_commands(work, ends=ends)
    await record_all(work, entries=[end_entry(each, WORKER, at) for each in ended.values()])


_announcements = TogetherByGroup(_announce_all)


async def ended(
    *,
    group_id: int,
    command_id: UUID,
    state: CommandState,
    outcome: str,
    relay_after: bool | None,
    at: datetime,
    accepted_at: datetime | None = None,
    reading: Reading | None = None,
) -> bool:
    """End a command and audit it; False when it had ended before. `accepted_at`: the meter answered the last
    write; `reading`: the read-back, which is kept."""
    end = End(command_id, state, outcome, relay_after, at, accepted_at)
    return await _ends(group_id, (end, reading))


async def _end_all(group_id: int, ends: Sequence[tuple[End, Reading | None]]) -> list[bool]:
    async with unit_of_work(group_id, by_key=True) as work:
        command_ids = [end.command_id for end, _ in ends]
        await supplies.lock_supplies_of_commands(work, command_ids=command_ids)
        found = await steps.end_commands(work, ends=[end for end, _ in ends])
        free = [each.meter_id for each in found.values() if _leaves_free(each)]
        if free:
            await supplies.note_obeyed(work, meter_ids=free)
        if readings := [reading for _, reading in ends if reading is not None]:
            await store_readings(work, readings=readings)
        entries = [
            end_entry(each, WORKER, each.finished_at or ends[0][0].at) for each in found.values()
        ]
        await record_all(work, entries=entries)
        await note_switched(work, ended=found.values(), at=ends[-1][0].at)
    return [command_id in found for command_id in command_ids]


_ends = TogetherByGroup(_end_all)


def _leaves_free(command: Command) -> bool:
    """Whether a meter that obeyed it is forced no more, or by another business than the supply's."""
    forced = command.why is not None and command.kind in _FORCES
    relay = family_of(command.kind) is Family.RELAY
    return command.state is CommandState.VERIFIED and relay and not forced


async def waits(
    *, group_id: int, command_id: UUID, why: str, accepted_at: datetime | None = None
) -> None:
    """It goes on later: the meter was not reached, or needs a moment. `accepted_at`: it answered the last
    write; an answer that a crash forgets is made up for by writing again."""
    async with unit_of_work(group_id, durable=False, by_key=True) as work:
        await steps.note_waiting(work, command_id=command_id, why=why, accepted_at=accepted_at)
