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
_CHARGED = (
    "SELECT a.id AS account_id, c.project_id, c.kind, c.version_id, min(c.from_at) AS since,"
    " sum(c.spike + c.peak + c.flat + c.valley + c.deep + c.unbanded)::bigint AS used,"
    " sum(c.energy_hao + c.loss_hao + c.public_hao + c.service_hao)::bigint AS hao"
    " FROM (SELECT id, CASE WHEN purse_account_id IS NULL THEN id ELSE purse_account_id END AS purse"
    "   FROM accounts_account WHERE group_id = $1 AND id = ANY($2)) AS a"
    " JOIN accounts_account m ON m.group_id = $1 AND (m.id = a.purse OR m.purse_account_id = a.purse)"
    " JOIN charges_charge c ON c.group_id = $1 AND c.account_id = m.id AND c.id >= $3"
    "  AND c.version_id IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 3, 5"
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
    found: dict[UUID, Money] = {}
    cases: dict[UUID, NewCase] = {}
    for (account_id, kind), charged in by_kind.items():
        if not doubtful(charged):
            continue
        known = owing[account_id]
        amount = doubtful(_with_uncharged(charged, known.uncharged.hao))
        found[account_id] = found.get(account_id, ZERO) + amount
        if known.available + found[account_id] > ZERO:
            project_id, version_id = versions[account_id, kind]
            detail = {"version": str(version_id), "account": str(account_id), "amount": str(amount)}
            cases[version_id] = NewCase(project_id, _KIND, str(version_id), detail)
    await open_cases(work, cases=list(cases.values()), at=at)
    return found


def _with_uncharged(charged: list[tuple[int, int]], hao: int) -> list[tuple[int, int]]:
    """What is read and not charged yet is priced as the last version was."""
    used, last = charged[-1]
    return charged if last <= 0 else [*charged[:-1], (used + hao * used // last, last + hao)]
