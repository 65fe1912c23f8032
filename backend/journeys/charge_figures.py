"""The three figures of accounts whose money is in the cloud: balance, not yet charged, available (C3)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from backend.charges.rules import Figures
from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money
from backend.ledger.rules import ARREARS, AccountKind
from backend.metering.rules import MOST_AN_HOUR

# One statement (C3). Arrears are claims on the purse; what is read beyond the charged register is priced at
# what the last charge said the next unit costs. A held assignment's use is not known, so it counts nothing;
# nor does what no meter can have measured, which charging will hold (may_pass).
# CASE and not coalesce, which row-level security takes for leaky: it would keep a purse from being found by
# its key, and read all of its project instead.
_FIGURES = (
    "SELECT a.id, coalesce((SELECT -sum(b.balance_hao) FROM ledger_account l JOIN ledger_balance b"
    "   ON b.group_id = l.group_id AND b.account_id = l.id WHERE l.group_id = $1"
    "   AND l.project_id = a.project_id AND l.ref = a.purse"
    "   AND l.kind = ANY($3)), 0)::bigint AS balance,"
    " coalesce((SELECT sum(CASE WHEN r.total - p.total BETWEEN 0 AND"
    "    k.most * (extract(epoch FROM r.at - p.rated_at) / 3600 + 1)"
    "   THEN (r.total - p.total) * p.price_hao / 1000 ELSE 0 END)"
    "   FROM accounts_account m JOIN charges_position p ON p.group_id = $1 AND p.account_id = m.id"
    "   JOIN metering_assignment s ON s.group_id = $1 AND s.id = p.assignment_id AND s.ended_at IS NULL"
    "   JOIN metering_latest r ON r.group_id = $1 AND r.meter_id = p.meter_id AND r.at > p.rated_at"
    "   JOIN unnest($4::text[], $5::bigint[]) AS k(kind, most) ON k.kind = p.kind"
    "   WHERE m.group_id = $1 AND p.hold IS NULL AND m.project_id = a.project_id"
    "   AND (m.id = a.purse"
    "    OR m.purse_account_id = a.purse)), 0)::bigint AS uncharged,"
    " coalesce((SELECT c.overdraft_hao + t.emergency_hao FROM charges_terms t JOIN charges_class c"
    "   ON c.group_id = t.group_id AND c.id = t.class_id WHERE t.group_id = $1"
    "   AND t.account_id = a.purse), 0)::bigint AS overdraft"
    " FROM (SELECT id, project_id, CASE WHEN purse_account_id IS NULL THEN id"
    "   ELSE purse_account_id END AS purse FROM accounts_account"
    "   WHERE group_id = $1 AND id = ANY($2)) AS a"
)


_KINDS = [str(kind) for kind in (AccountKind.PURSE, *sorted(ARREARS))]


async def figures(work: UnitOfWork, *, account_ids: Sequence[UUID]) -> dict[UUID, Figures]:
    """The three figures of accounts by one statement (C3); accounts that share a purse have the same."""
    rows = await work.fetch(
        _FIGURES,
        work.group_id,
        list(account_ids),
        _KINDS,
        [str(kind) for kind in MOST_AN_HOUR],
        list(MOST_AN_HOUR.values()),
    )
    return {
        row["id"]: Figures(Money(row["balance"]), Money(row["uncharged"]), Money(row["overdraft"]))
        for row in rows
    }
