"""A batch: one order to many meters. Who takes part, when it takes two operators, how it goes on. Pure.

Barriers against a mass cut by a slip or by an insider: reference/trust.md section 5 (preview shown, four eyes
above the limit, approver is not who asked, 60 s to call it off).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from backend.kernel.errors import Conflict, InvalidInput

from .command_rules import CommandKind, CommandState
from .supply_rules import Force, SupplyPolicy, trips_at_most

MOST_METERS = 10_000  # of one batch
CANCEL_WINDOW = timedelta(seconds=60)  # after the last confirmation nothing goes for so long
# What was seen in a preview is not so for ever; whom to ask may be at home.
PREVIEW_LIFE, WAITING_LIFE = timedelta(minutes=30), timedelta(hours=24)
LIFE = timedelta(hours=24)  # from its start: what is left then is cancelled, what failed stays so
# A batch of trips that nobody carried on for so long asks a person; any other's worker is gone.
UNTENDED, FORGOTTEN = timedelta(minutes=15), timedelta(seconds=20)
ALONE_WITHIN = timedelta(hours=1)
# Commands on their way at once: at a bus those of one errand and of the next two (command_rules.together),
# and no more, for a trip lives 120 s on the slowest bus too; in a project as many as leave places of a
# worker to who pays meanwhile.
AT_A_GATEWAY, IN_A_PROJECT = 12, 6000
_MOST_TEXT = 200_000
_LOOKED_AT = 1_000  # of a line; csv itself gives up at a cell of 131,072
_SERIAL = re.compile(r"[A-Za-z0-9-]{4,32}")


class BatchState(StrEnum):
    """DRAFT: a preview. WAITING: for a second operator. RUNNING: from `starts_at` on commands go. PAUSED:
    none go. DONE, CANCELLED (what was left), REFUSED by the second operator, EXPIRED before it began."""

    DRAFT = "DRAFT"
    WAITING = "WAITING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    DONE = "DONE"
    CANCELLED = "CANCELLED"
    REFUSED = "REFUSED"
    EXPIRED = "EXPIRED"


class ItemState(StrEnum):
    """LEFT_OUT of the batch. READY: nothing was asked of the meter. ASKED: its command is on its way. DONE:
    the read-back shows it. FAILED: as the note says. OVERTAKEN: somebody gave the meter a newer command
    meanwhile, which stays. CANCELLED before anything was asked."""

    LEFT_OUT = "LEFT_OUT"
    READY = "READY"
    ASKED = "ASKED"
    DONE = "DONE"
    FAILED = "FAILED"
    OVERTAKEN = "OVERTAKEN"
    CANCELLED = "CANCELLED"


BECAME: Mapping[CommandState, ItemState] = {
    CommandState.VERIFIED: ItemState.DONE,
    CommandState.FAILED: ItemState.FAILED,
    CommandState.EXPIRED: ItemState.FAILED,
    CommandState.SUPERSEDED: ItemState.OVERTAKEN,
}


class LeftOut(StrEnum):
    """Why a meter takes no part in a batch."""

    UNKNOWN_NUMBER = "UNKNOWN_NUMBER"
    OTHER_PROJECT = "OTHER_PROJECT"
    OUT_OF_SERVICE = "OUT_OF_SERVICE"
    EMERGENCY = "EMERGENCY"
    PROTECTED = "PROTECTED"
    NOT_ABLE = "NOT_ABLE"
    LOST = "LOST"
    SERVES_NOBODY = "SERVES_NOBODY"
    ALREADY_SO = "ALREADY_SO"


class Candidate(NamedTuple):
    """What a preview knows of a meter. `in_service`: not removed and not being taken down. `able`: its model
    can do it. `sold`: use of it is sold, so that it ought to serve an account. `policy`, `until`: what holds
    now. `relay`: as it was read last, True is closed. `held`: what it is known to hold of such settings."""

    in_service: bool
    emergency: bool
    protected: bool
    able: bool
    lost: bool
    sold: bool
    assigned: bool
    policy: SupplyPolicy
    until: datetime | None
    force: Force | None
    relay: bool | None
    held: Mapping[str, int]


# What nobody pays for is given no power, prices, hours or thresholds; it may be cut, and its clock set.
_OF_NOBODY = (CommandKind.TRIP, CommandKind.SYNC_CLOCK)
_MEANT = {
    CommandKind.TRIP: SupplyPolicy.FORCED_OFF,
    CommandKind.KEEP_POWER: SupplyPolicy.KEEP_ON,
}


def left_out(
    meter: Candidate, *, kind: CommandKind, settings: Mapping[str, int], until: datetime | None
) -> LeftOut | None:
    """Why a meter takes no part in a batch of such commands; None when it does.

    A protected meter is never tripped; an emergency trip is ended by itself alone. What is lost is left
    out whatever the command: there is no "trip all that cannot be reached" (trust.md section 5).
    """
    rules = (
        (LeftOut.OUT_OF_SERVICE, not meter.in_service),
        (LeftOut.EMERGENCY, meter.emergency),
        (LeftOut.PROTECTED, meter.protected and kind is CommandKind.TRIP),
        (LeftOut.NOT_ABLE, not meter.able),
        (LeftOut.LOST, meter.lost),
        (LeftOut.SERVES_NOBODY, meter.sold and not meter.assigned and kind not in _OF_NOBODY),
        (LeftOut.ALREADY_SO, _already(meter, kind, settings, until)),
    )
    return next((why for why, holds in rules if holds), None)


def _already(
    meter: Candidate, kind: CommandKind, settings: Mapping[str, int], until: datetime | None
) -> bool:
    """Whether it is so already, as far as anybody knows; then asking again would say nothing."""
    if kind is CommandKind.SYNC_CLOCK:
        return False
    if kind is CommandKind.CALENDAR:
        return dict(meter.held) == dict(settings)
    if settings:
        return all(meter.held.get(name) == value for name, value in settings.items())
    if kind in _MEANT:
        return meter.policy is _MEANT[kind] and meter.until == until
    free = meter.policy is SupplyPolicy.AUTO and meter.force is None
    return free and (kind is CommandKind.RELEASE or meter.relay is True)


def needs_second(*, kind: CommandKind, count: int, given: int, alone: int, meters: int) -> bool:
    """Whether a batch takes a second operator (C22, C30): with what its operator gave alone within the hour
    (`given`) it reaches more meters than the project's limit, or trips more than the blast radius of a
    project of so many `meters`."""
    limit = min(alone, trips_at_most(meters)) if kind is CommandKind.TRIP else alone
    return count + given > limit


_NEXT = {
    "confirmed": (BatchState.DRAFT,),
    "ruled on": (BatchState.WAITING,),
    "paused": (BatchState.RUNNING,),
    "resumed": (BatchState.PAUSED,),
    "cancelled": (BatchState.DRAFT, BatchState.WAITING, BatchState.RUNNING, BatchState.PAUSED),
    "tried again": (BatchState.RUNNING, BatchState.PAUSED, BatchState.DONE),
}


def check_step(state: BatchState, step: str) -> None:
    """Raises Conflict when a batch in such a state cannot be `step` (a word of the keys above)."""
    if state not in _NEXT[step]:
        raise Conflict(f"this batch is {state} and cannot be {step}")


def numbers_of(text: str) -> list[str]:
    """The meter numbers of a file: the first cell of each line, each once, in their order.

    Lines or CSV by comma, semicolon or tab, as Excel saves it (with a byte order mark, or as ="0012"); a
    first line that is no number is a heading. Raises InvalidInput: too long, none, or more than a batch has.
    """
    if len(text) > _MOST_TEXT:
        raise InvalidInput(f"a list has at most {_MOST_TEXT} characters", field="numbers")
    lines = [line for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    cells = [cell for cell in map(_first_cell, lines) if cell]
    if cells and _SERIAL.fullmatch(cells[0]) is None:
        cells = cells[1:]
    found = list(dict.fromkeys(cells))
    if not 1 <= len(found) <= MOST_METERS:
        raise InvalidInput(f"name 1 to {MOST_METERS} meters", field="numbers")
    return found


def _first_cell(line: str) -> str:
    separator = next((each for each in "\t;," if each in line), ",")
    (first, *_) = next(csv.reader([line[:_LOOKED_AT]], delimiter=separator))
    return first.strip().lstrip("=").strip('" ')[:64]
