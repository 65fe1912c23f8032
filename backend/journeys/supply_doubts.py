"""What accounts owe only because a price jumped: a figure typed a hundred times too high cuts nobody (C20).

A price is drafted by one and approved by another, who are shown what jumps; should it pass them all the same,
what it takes beyond five times the price before it is not held against anybody's supply, and a case says so.
Fixed fees are not looked at: a month of them is a fraction of what is paid.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from backend.alerts.operations import NewCase, open_cases
from backend.charges.rules import Figures, doubtful
from backend.kernel.db import UnitOfWork
from backend.kernel.ids import earliest_at
from backend.kernel.money import ZERO, Money

_LOOKS_BACK = timedelta(days=62)  # two months: a price that is paid for so long is no slip any more
_KIND = "PRICE_DOUBTED"
_PURSES = (
    " FROM (SELECT id, CASE WHEN purse_account_id IS NULL THEN id ELSE purse_account_id END AS purse"
    "   FROM accounts_account WHERE group_id = $1 AND id = ANY($2)) AS a"
    " JOIN accounts_account m ON m.group_id = $1 AND (m.id = a.purse OR m.purse_account_id = a.purse)"
)
_CHARGED = (
    "SELECT a.id AS account_id, c.project_id, c.kind, c.version_id, min(c.from_at) AS since,"
    " sum(c.spike + c.peak + c.flat + c.valley + c.deep + c.unbanded)::bigint AS used,"
    " sum(c.energy_hao + c.loss_hao + c.public_hao + c.service_hao)::bigint AS hao"
    + _PURSES
    + " JOIN charges_charge c ON c.group_id = $1 AND c.account_id = m.id AND c.id >= $3"
    "  AND c.version_id IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 3, 5"
)
# As charge_figures has it, by kind: what is read and not charged yet, at what the last charge said.
_WAITING = (
    "SELECT a.id AS account_id, p.kind, sum(r.total - p.total)::bigint AS used,"
    " sum((r.total - p.total) * p.price_hao / 1000)::bigint AS hao"
    + _PURSES
    + " JOIN charges_position p ON p.group_id = $1 AND p.account_id = m.id AND p.hold IS NULL"
    " JOIN metering_assignment s ON s.group_id = $1 AND s.id = p.assignment_id AND s.ended_at IS NULL"
    " JOIN metering_latest r ON r.group_id = $1 AND r.meter_id = p.meter_id AND r.at > p.rated_at"
    "  AND r.total > p.total GROUP BY 1, 2"
)


async def doubted(
    work: UnitOfWork, *, owing: Mapping[UUID, Figures], at: datetime
) -> dict[UUID, Money]:
    """How much of what each account owes is doubtful; those of whom nothing is are left out. Of a version
    that would cut somebody by it there is a case from now on."""
    if not owing:
        return {}
    rows = await work.fetch(_CHARGED, work.group_id, list(owing), earliest_at(at - _LOOKS_BACK))
    by_kind: dict[tuple[UUID, str], list[tuple[int, int]]] = defaultdict(list)
    versions: dict[tuple[UUID, str], tuple[UUID, UUID]] = {}
    for row in rows:
        of = row["account_id"], row["kind"]
        by_kind[of].append((row["used"], row["hao"]))
        versions[of] = row["project_id"], row["version_id"]
    waiting = await work.fetch(_WAITING, work.group_id, list(owing))
    for row in waiting:
        by_kind[row["account_id"], row["kind"]].append((row["used"], row["hao"]))
    found: dict[UUID, Money] = {}
    cases: dict[UUID, NewCase] = {}
    for (account_id, kind), charged in by_kind.items():
        amount, known = doubtful(charged), owing[account_id]
        if not amount:
            continue
        found[account_id] = found.get(account_id, ZERO) + amount
        if known.available + found[account_id] > ZERO:
            project_id, version_id = versions[account_id, kind]
            detail = {"version": str(version_id), "account": str(account_id), "amount": str(amount)}
            cases[version_id] = NewCase(project_id, _KIND, str(version_id), detail)
    await open_cases(work, cases=list(cases.values()), at=at)
    return found
