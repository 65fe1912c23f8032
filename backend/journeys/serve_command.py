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
from backend.control.command_steps import End, Waiting, Writing
from backend.control.commands import Command
from backend.control.supply_rules import Force
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.together import TogetherByGroup
from backend.metering.on_buses import MeterOnBus, meters_on_buses
from backend.metering.readings import Reading, store_readings
from backend.outbox.operations import emit, postpone

from .command import WORKER, end_entry, expire
from .errands import TOPIC, events_alone
from .supply_again import not_meant
from .switched import note_switched

_AT_ONCE = 200  # commands of one commit
# What a supply has to take back one day.
_FORCES = frozenset({CommandKind.TRIP, CommandKind.KEEP_POWER})


@dataclass(frozen=True, slots=True)
class CommandWork:
    """What the worker needs to serve one command."""

    command: Command
    meter: MeterOnBus


async def take(
    *, group_id: int, command_ids: Sequence[UUID], at: datetime
) -> list[CommandWork | None]:
    """The commands to serve, None in place of one of which there is nothing to do: it ended, or ends here
    because its time is over."""
    return await _takes.all(group_id, [(each, at) for each in command_ids])


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


_takes = TogetherByGroup(_take_all, most=_AT_ONCE)


async def about_to_write(*, group_id: int, writes: Sequence[Writing]) -> list[Command | None]:
    """Commit that writes may reach their meters, before they leave.

    None in place of a command that ended, expired or was written by another meanwhile, or is a trip that is
    not meant any more, so that nothing may be written of it.
    """
    return await _announcements.all(group_id, writes)


async def _announce_all(group_id: int, writes: Sequence[Writing]) -> list[Command | None]:
    async with unit_of_work(group_id, by_key=True) as work:
        command_ids = [write.command_id for write in writes]
        protected = await supplies.lock_supplies_of_commands(work, command_ids=command_ids)
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
        idle = await not_meant(work, commands=of_live, protected=protected, at=writes[-1].at)
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


_announcements = TogetherByGroup(_announce_all, most=_AT_ONCE, abreast=2)


async def ended(*, group_id: int, ends: Sequence[tuple[End, Reading | None]]) -> list[bool]:
    """End commands and audit it, each with the read-back, if one is to be kept; False in place of one that
    had ended before."""
    return await _ends.all(group_id, ends)


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
        await note_switched(work, ended=found.values(), at=ends[-1][0].at)
        await record_all(work, entries=entries)  # last: the group's audit is one chain
    return [command_id in found for command_id in command_ids]


_ends = TogetherByGroup(_end_all, most=_AT_ONCE, abreast=2)


def _leaves_free(command: Command) -> bool:
    """Whether a meter that obeyed it is forced no more, or by another business than the supply's."""
    forced = command.why is not None and command.kind in _FORCES
    relay = family_of(command.kind) is Family.RELAY
    return command.state is CommandState.VERIFIED and relay and not forced


async def waits(*, group_id: int, waiting: Sequence[tuple[Waiting, Reading | None]]) -> None:
    """Commands go on later: their meters were not reached, or need a moment. An answer to a write that a
    crash forgets is made up for by writing again."""
    async with unit_of_work(group_id, durable=False, by_key=True) as work:
        await steps.note_waiting(work, waiting=[each for each, _ in waiting])
        if readings := [reading for _, reading in waiting if reading is not None]:
            await store_readings(work, readings=readings)


async def go_on_alone(*, group_id: int, due: Mapping[UUID, datetime], at: datetime) -> None:
    """Commands that were given together go on each by an event of its own, from an instant on."""
    async with unit_of_work(group_id) as work:
        for key, payload in events_alone(due).items():
            due_at = due[UUID(key)]
            if not await emit(work, topic=TOPIC, key=key, payload=payload, at=at, due_at=due_at):
                await postpone(work, topic=TOPIC, key=key, due_at=due_at)
