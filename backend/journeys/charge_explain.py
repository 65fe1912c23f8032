"""Explain a charge: readings, version, step position, lines, rounding; and replay it (C18)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from backend.accounts import queries as accounts
from backend.charges.queries import charge_by_id
from backend.charges.rules import Amounts, Charge, Reason
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.scope import Scope
from backend.tariffs.queries import plan_of_version
from backend.tariffs.rules import (
    Days,
    Line,
    Plan,
    Position,
    Segment,
    Use,
    difference,
    price_to_date,
    price_usage,
    step_of,
)
from backend.tenancy.rules import Permission

from .charge_rating import amounts_of


@dataclass(frozen=True, slots=True)
class Explained:
    """A charge and how it came about. `lines` say quantity, price and amount of each; `step` the step that
    the next unit after it is in, None where a whole month was corrected. `replayed`: what the lines come
    to when they are priced anew; `agrees`: it is what was posted."""

    charge: Charge
    lines: tuple[Line, ...]
    step: int | None
    replayed: Amounts

    @property
    def agrees(self) -> bool:
        """Whether pricing it anew gives what was posted."""
        return self.replayed == self.charge.amounts


async def explain(work: UnitOfWork, *, scope: Scope, charge_id: UUID) -> Explained:
    """A charge explained for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    charge = await charge_by_id(work, charge_id=charge_id)
    if not scope.may(Permission.TOPUP_READ, charge.project_id):
        raise NotFound("no such charge")
    await accounts.account_by_id(work, account_id=charge.account_id)
    return await explained(work, charge=charge)


async def explained(work: UnitOfWork, *, charge: Charge) -> Explained:
    """A charge priced anew from what it keeps: the readings' use, the version, the position."""
    if charge.detail is not None and "after" in charge.detail:
        before, after = charge.detail["before"], charge.detail["after"]
        plans = await _plans(work, {segment[1] for segment in [*before, *after]})
        lines = _month_difference(before, after, plans)
        return Explained(charge, lines, None, amounts_of(lines))
    assert charge.version_id is not None, "only a correction has no version"
    plan = (await _plans(work, {str(charge.version_id)}))[str(charge.version_id)]
    sign = -1 if charge.reason is Reason.ESTIMATE_REVERSED else 1
    use = Use(*(sign * each for each in charge.use))
    position = Position(
        charge.season or 0, charge.step_before or 0, Use(*(charge.use_before or (0,) * 6))
    )
    priced = price_usage(plan, use, position, Days(*(charge.days or (0, 0, 30))))
    lines = tuple(line._replace(amount=sign * line.amount) for line in priced)
    reached = position.step_before + position.use_before.total + use.total
    return Explained(charge, lines, step_of(plan, reached), amounts_of(lines))


async def _plans(work: UnitOfWork, versions: set[str]) -> dict[str, Plan]:
    rows = await work.fetch(
        "SELECT id::text AS id, terms::text AS terms FROM tariffs_version"
        " WHERE group_id = $1 AND id = ANY($2)",
        work.group_id,
        [UUID(version) for version in versions],
    )
    return {row["id"]: plan_of_version(row["id"], row["terms"]) for row in rows}


def _month_difference(
    before: Sequence[list[Any]], after: Sequence[list[Any]], plans: dict[str, Plan]
) -> tuple[Line, ...]:
    """What the lines of a month grew by, segment by segment."""
    old = price_to_date([_segment(each, plans) for each in before])
    new = price_to_date([_segment(each, plans) for each in after])
    found: list[Line] = []
    for place in range(max(len(old), len(new))):
        was = old[place] if place < len(old) else ()
        now = new[place] if place < len(new) else ()
        found += difference(now, was)
    return tuple(found)


def _segment(kept: list[Any], plans: dict[str, Plan]) -> Segment:
    _, version, season, use, days, year_before = kept
    return Segment(plans[version], season, Use(*use), Days(*days), year_before)
