"""Forecasts as rows: the profile of each place where money is used up, what it says, how far it is off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork

from .forecast_rules import Basis, Forecast, Measured, Miss, Profile, mape, wape


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a purse (`ref`: its account) or of a meter that holds its own money (`ref`: its
    assignment): profile and error, and what the last look found."""

    ref: UUID
    project_id: UUID
    account_id: UUID
    assignment_id: UUID | None
    profile: Profile
    measured: Measured
    found: Forecast
    looked_at: datetime


class ProjectDay(NamedTuple):
    """How far the forecasts of a day were off, of all accounts of a project that used something (`accounts`).
    `off`: the sum of what each was off, in thousandths; money in hao."""

    day: date
    accounts: int
    off: int
    missed: int
    came: int

    @property
    def mape(self) -> int | None:
        """The mean absolute percentage error of the accounts, in thousandths."""
        return (2 * self.off + self.accounts) // (2 * self.accounts) if self.accounts else None

    @property
    def wape(self) -> int | None:
        """All that was missed as a share of all that came, in thousandths."""
        return wape([Miss(self.missed, self.came)])


_ARRAYS = ("hours", "seen", "days_missed", "days_came", "weeks_missed", "weeks_came")
_COLUMNS = (
    ("ref", "uuid"),
    ("project_id", "uuid"),
    ("account_id", "uuid"),
    ("assignment_id", "uuid"),
    ("day", "date"),
    ("hours", "text"),
    ("seen", "text"),
    ("level", "integer"),
    ("away", "smallint"),
    ("days_missed", "text"),
    ("days_came", "text"),
    ("weeks_missed", "text"),
    ("weeks_came", "text"),
    ("week_from", "date"),
    ("week_said", "bigint"),
    ("week_came", "bigint"),
    ("basis", "text"),
    ("days_left", "integer"),
    ("zero_at", "timestamptz"),
    ("looked_at", "timestamptz"),
)
_NAMES = [name for name, _ in _COLUMNS]
_LISTED = ", ".join(_NAMES)
# Arrays of arrays do not travel, so each goes as its text.
_READ = [
    f"n.{name}::{'integer' if name == 'seen' else 'bigint'}[]" if name in _ARRAYS else f"n.{name}"
    for name in _NAMES
]
_SENT = ", ".join(f"${place}::{kind}[]" for place, (_, kind) in enumerate(_COLUMNS, start=2))
_FIXED = {"ref", "project_id", "account_id", "assignment_id"}
_KEEP = (
    f"INSERT INTO charges_forecast (group_id, {_LISTED})"
    f" SELECT $1, {', '.join(_READ)} FROM unnest({_SENT}) AS n({_LISTED})"
    " ON CONFLICT (group_id, ref) DO UPDATE SET "
    + ", ".join(f"{name} = EXCLUDED.{name}" for name in _NAMES if name not in _FIXED)
)


async def keep(work: UnitOfWork, *, forecasts: Sequence[Kept]) -> None:
    """Write what was learned and found, by one statement."""
    if not forecasts:
        return
    columns: list[list[object]] = [[] for _ in _COLUMNS]
    for each in forecasts:
        for column, value in zip(columns, _row_of(each), strict=True):
            column.append(value)
    await work.execute(_KEEP, work.group_id, *columns)


async def close_gone(
    work: UnitOfWork, *, project_id: UUID, refs: Sequence[UUID], at: datetime
) -> list[UUID]:
    """What was found of a project's places that are not among `refs` any more stands no longer: nothing is
    used there. Which they are."""
    rows = await work.fetch(
        "UPDATE charges_forecast SET basis = 'IDLE', days_left = NULL, zero_at = NULL, looked_at = $4"
        " WHERE group_id = $1 AND project_id = $2 AND zero_at IS NOT NULL AND ref <> ALL($3)"
        " RETURNING ref",
        work.group_id,
        project_id,
        list(refs),
        at,
    )
    return [row["ref"] for row in rows]


def _row_of(kept: Kept) -> tuple[object, ...]:
    profile, measured, found = kept.profile, kept.measured, kept.found
    return (
        kept.ref,
        kept.project_id,
        kept.account_id,
        kept.assignment_id,
        profile.day,
        _array(profile.hours),
        _array(profile.seen),
        profile.level,
        profile.away,
        _array(each.missed for each in measured.days),
        _array(each.came for each in measured.days),
        _array(each.missed for each in measured.weeks),
        _array(each.came for each in measured.weeks),
        measured.week_from,
        measured.week_said,
        measured.week_came,
        found.basis,
        found.days_left,
        found.zero_at,
        kept.looked_at,
    )


def _array(numbers: Iterable[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"


async def kept_of(work: UnitOfWork, *, refs: Sequence[UUID]) -> dict[UUID, Kept]:
    """What is kept, by ref; what was never looked at is absent."""
    rows = await work.fetch(
        f"SELECT {_LISTED} FROM charges_forecast WHERE group_id = $1 AND ref = ANY($2)",
        work.group_id,
        list(refs),
    )
    return {row["ref"]: _kept_of(row) for row in rows}


async def last_looks(work: UnitOfWork) -> dict[UUID, tuple[date, datetime | None]]:
    """The last day that each of the group's places learned, and when its money is used up (None: not known,
    or it is not), by ref."""
    rows = await work.fetch(
        "SELECT ref, day, zero_at FROM charges_forecast WHERE group_id = $1", work.group_id
    )
    return {ref: (day, zero_at) for ref, day, zero_at in rows}


async def first_to_run_out(work: UnitOfWork, *, project_id: UUID, limit: int) -> list[Kept]:
    """Those of a project that run out first, as the last looks found it."""
    rows = await work.fetch(
        f"SELECT {_LISTED} FROM charges_forecast"
        " WHERE group_id = $1 AND project_id = $2 AND zero_at IS NOT NULL ORDER BY zero_at, ref LIMIT $3",
        work.group_id,
        project_id,
        limit,
    )
    return [_kept_of(row) for row in rows]


def _kept_of(row: Row) -> Kept:
    return Kept(
        row["ref"],
        row["project_id"],
        row["account_id"],
        row["assignment_id"],
        Profile(row["day"], tuple(row["hours"]), tuple(row["seen"]), row["level"], row["away"]),
        Measured(
            tuple(map(Miss, row["days_missed"], row["days_came"])),
            tuple(map(Miss, row["weeks_missed"], row["weeks_came"])),
            row["week_from"],
            row["week_said"],
            row["week_came"],
        ),
        Forecast(Basis(row["basis"]), row["days_left"], row["zero_at"]),
        row["looked_at"],
    )


async def add_misses(
    work: UnitOfWork, *, misses: Mapping[tuple[UUID, date], Sequence[Miss]]
) -> None:
    """Add what forecasts of days missed, by project and day; each is added once, when its day is learned."""
    if not misses:
        return
    found = [
        (project_id, day, [each for each in of_day if each.came], of_day)
        for (project_id, day), of_day in sorted(misses.items())
    ]
    await work.execute(
        "INSERT INTO charges_forecast_day AS d"
        " (group_id, project_id, day, accounts, off, missed_hao, came_hao)"
        " SELECT $1, n.* FROM unnest($2::uuid[], $3::date[], $4::integer[], $5::bigint[], $6::bigint[],"
        "  $7::bigint[]) AS n ON CONFLICT (group_id, project_id, day) DO UPDATE SET"
        " accounts = d.accounts + EXCLUDED.accounts, off = d.off + EXCLUDED.off,"
        " missed_hao = d.missed_hao + EXCLUDED.missed_hao, came_hao = d.came_hao + EXCLUDED.came_hao",
        work.group_id,
        [project_id for project_id, _, _, _ in found],
        [day for _, day, _, _ in found],
        [len(used) for _, _, used, _ in found],
        [sum(mape([each]) or 0 for each in used) for _, _, used, _ in found],
        [sum(each.missed for each in of_day) for _, _, _, of_day in found],
        [sum(each.came for each in of_day) for _, _, _, of_day in found],
    )


async def project_days(work: UnitOfWork, *, project_id: UUID, limit: int) -> list[ProjectDay]:
    """How far off the forecasts of a project were, day by day, the newest first."""
    rows = await work.fetch(
        "SELECT day, accounts, off, missed_hao, came_hao FROM charges_forecast_day"
        " WHERE group_id = $1 AND project_id = $2 ORDER BY day DESC LIMIT $3",
        work.group_id,
        project_id,
        limit,
    )
    return [ProjectDay(*row) for row in rows]
