"""Which meters a batch means, and what is known of each (A21): by area, state, label or a list of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from backend.control.batch_items import NewItem
from backend.control.batch_rules import MOST_METERS, Candidate, LeftOut, left_out, numbers_of
from backend.control.command_rules import CommandKind, Family, Order, family_of
from backend.control.state_rules import MeterState
from backend.control.supply_rules import Force, SupplyPolicy, Why
from backend.kernel.band_calendar import calendar_of
from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import InvalidInput
from backend.kernel.scope import Scope
from backend.metering.rules import MeterModel
from backend.tenancy.rules import Permission

from .command import unable
from .meter_choice import Choice, chosen_meters
from .meter_states import meter_states

_NUMBERED = (
    "SELECT id, serial, project_id FROM metering_meter WHERE group_id = $1 AND serial = ANY($2)"
)
# `held`: what the verified commands of a family wrote, the newest on top; of a calendar, which is whole, the
# newest alone. Those over a relay write nothing and are by far the most: they are left out by name, so that
# no meter's are read.
_FACTS = (
    "SELECT m.id, m.serial, m.gateway_id, m.profile, m.credit_mode, l.relay, a.id AS assignment_id,"
    "  s.policy, s.policy_until, s.protected_at, s.emergency_at, s.force, s.force_why, k.held,"
    "  m.removed_at IS NULL AND NOT EXISTS (SELECT FROM metering_takedown t WHERE t.group_id = $1"
    "   AND t.meter_id = m.id AND t.finished_at IS NULL) AS in_service"
    " FROM metering_meter m"
    " LEFT JOIN metering_latest l ON l.group_id = m.group_id AND l.meter_id = m.id"
    " LEFT JOIN metering_assignment a"
    "  ON a.group_id = m.group_id AND a.meter_id = m.id AND a.ended_at IS NULL"
    " LEFT JOIN control_supply s ON s.group_id = m.group_id AND s.meter_id = m.id"
    " LEFT JOIN LATERAL (SELECT jsonb_object_agg(e.key, e.value ORDER BY c.id) AS held"
    "  FROM (SELECT id, settings FROM control_command WHERE group_id = $1"
    "    AND meter_id = m.id AND family = $3 AND state = 'VERIFIED'"
    "    AND family IN ('PRICES', 'CALENDAR', 'THRESHOLDS', 'LOAD_LIMITS')"
    "   ORDER BY id DESC LIMIT CASE WHEN $3 = 'CALENDAR' THEN 1 END) c"
    "  CROSS JOIN LATERAL jsonb_each(c.settings) e) k ON true"
    " WHERE m.group_id = $1 AND m.id = ANY($2)"
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which meters of a project are meant: those in one of the areas (with all below), in one of the states,
    and with one of the tags; or just those of a list of `numbers`, the text of a file."""

    areas: Sequence[UUID] = ()
    states: Sequence[MeterState] = ()
    tags: Sequence[str] = ()
    numbers: str | None = None

    def kept(self) -> dict[str, Any]:
        """As it is kept with the batch."""
        told = {
            "areas": [str(each) for each in self.areas],
            "states": [str(s) for s in self.states],
        }
        told["tags"] = list(self.tags)
        kept: dict[str, Any] = {name: value for name, value in told.items() if value}
        return kept if self.numbers is None else {"numbers": len(numbers_of(self.numbers))}


async def previewed(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    selection: Selection,
    order: Order,
    until: datetime | None,
    models: Mapping[str, MeterModel],
    at: datetime,
) -> list[NewItem]:
    """Everybody who is meant, and of whom takes no part, why. Raises NotFound (an area), InvalidInput."""
    unknown: list[NewItem] = []
    if selection.numbers is not None:
        if selection.areas or selection.states or selection.tags:
            raise InvalidInput("a list of numbers stands alone", field="numbers")
        meter_ids, unknown = await _numbered(work, scope, project_id, selection.numbers)
    else:
        meter_ids = await _in_project(work, scope, project_id, selection)
    states = await meter_states(work, meter_ids=meter_ids)
    if selection.states:
        meter_ids = [each for each in meter_ids if states[each] in selection.states]
    if len(meter_ids) + len(unknown) > MOST_METERS:
        raise InvalidInput(f"a batch has at most {MOST_METERS} meters", field="selection")
    family = family_of(order.kind)
    rows = await work.fetch(_FACTS, work.group_id, meter_ids, family)
    facts = {row["id"]: row for row in rows}
    items = []
    for meter_id in meter_ids:
        row = facts[meter_id]
        lost = states[meter_id] is MeterState.LOST
        candidate = _candidate(row, order, models.get(row["profile"]), lost=lost, at=at)
        why = left_out(candidate, kind=order.kind, settings=order.settings, until=until)
        items.append(NewItem(row["serial"], meter_id, row["gateway_id"], row["assignment_id"], why))
    return [*items, *unknown]


async def _in_project(
    work: UnitOfWork, scope: Scope, project_id: UUID, selection: Selection
) -> list[UUID]:
    if not (selection.areas or selection.states or selection.tags):
        raise InvalidInput("say by what meters are chosen", field="selection")
    choice = Choice(areas=selection.areas, tags=selection.tags)
    found = await chosen_meters(work, scope=scope, project_id=project_id, choice=choice)
    return [meter_id for meter_id, _ in found]


async def _numbered(
    work: UnitOfWork, scope: Scope, project_id: UUID, text: str
) -> tuple[list[UUID], list[NewItem]]:
    """The meters of a list, and what it names that is none here. Of another project nobody is told but who
    may read there (C29)."""
    numbers = numbers_of(text)
    rows = await work.fetch(_NUMBERED, work.group_id, numbers)
    known = {row["serial"]: row for row in rows}
    found, strange = list[UUID](), list[NewItem]()
    for number in numbers:
        row = known.get(number)
        if row is not None and row["project_id"] == project_id:
            found.append(row["id"])
            continue
        elsewhere = row is not None and scope.may(Permission.METER_READ, row["project_id"])
        why = LeftOut.OTHER_PROJECT if elsewhere else LeftOut.UNKNOWN_NUMBER
        strange.append(NewItem(number, None, None, None, why))
    return found, strange


def _candidate(
    row: Row, order: Order, model: MeterModel | None, *, lost: bool, at: datetime
) -> Candidate:
    until = row["policy_until"]
    over = row["policy"] is None or (until is not None and until <= at)
    return Candidate(
        in_service=row["in_service"],
        emergency=row["emergency_at"] is not None,
        protected=row["protected_at"] is not None,
        able=_able(order, model, row["profile"]),
        lost=lost,
        sold=row["credit_mode"] != "NONE",
        assigned=row["assignment_id"] is not None,
        policy=SupplyPolicy.AUTO if over else SupplyPolicy(row["policy"]),
        until=None if over else until,
        force=None
        if row["force"] is None
        else Force(CommandKind(row["force"]), Why(row["force_why"])),
        relay=None if row["relay"] is None else bool(row["relay"]),
        held=row["held"] or {},
    )


def _able(order: Order, model: MeterModel | None, name: str) -> bool:
    """Whether a model can do it, as far as is known without asking the meter."""
    if unable(order.kind, model, name):
        return False
    assert model is not None, "no profile is unable"
    if family_of(order.kind) is Family.PRICES:
        return set(order.settings) <= set(model.price_bands)
    if family_of(order.kind) is Family.CALENDAR:
        days = calendar_of(order.settings).tables
        return {slot.band for day in days for slot in day} <= set(model.price_bands)
    return order.kind is not CommandKind.CLOSE or model.closes
