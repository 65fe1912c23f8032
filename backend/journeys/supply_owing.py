"""Whose money in the cloud is used up, or on its way: arrears are claims on a purse, and accounts share
purses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.outbox.operations import emit_all

# Of each group the accounts that were ever in arrears: the index on ledger_account is of those alone.
# Row-level security lets no index serve what is joined by coalesce or LIKE, so neither is used.
_OWING = (
    "SELECT DISTINCT s.meter_id, m.project_id FROM ledger_account l"
    " JOIN ledger_balance b ON b.group_id = l.group_id AND b.account_id = l.id AND b.balance_hao > 0"
    " JOIN accounts_account a ON a.group_id = l.group_id AND a.project_id = l.project_id"
    "  AND (a.id = l.ref AND a.purse_account_id IS NULL OR a.purse_account_id = l.ref)"
    " JOIN metering_assignment s ON s.group_id = a.group_id AND s.account_id = a.id AND s.ended_at IS NULL"
    " JOIN metering_meter m ON m.group_id = s.group_id AND m.id = s.meter_id AND m.credit_mode = 'CLOUD'"
    " WHERE l.group_id = $1 AND l.kind IN ('ENERGY_ARREARS', 'FIXED_FEE_ARREARS', 'LOSS_ARREARS',"
    "  'PUBLIC_ARREARS', 'SERVICE_ARREARS')"
)
_OF_PURSE = (
    "SELECT s.meter_id FROM accounts_account a JOIN metering_assignment s ON s.group_id = a.group_id"
    "  AND s.account_id = a.id AND s.ended_at IS NULL"
    " WHERE a.group_id = $1 AND (a.id = $2 OR a.purse_account_id = $2)"
)


_WAITING = (
    "SELECT DISTINCT coalesce(a.purse_account_id, a.id) AS purse FROM accounts_account a"
    " JOIN metering_assignment s ON s.group_id = a.group_id AND s.account_id = a.id AND s.ended_at IS NULL"
    " JOIN control_supply c ON c.group_id = s.group_id AND c.meter_id = s.meter_id"
    "  AND (c.owing OR c.force IS NOT NULL)"
    " WHERE a.group_id = $1 AND (a.id = ANY($2) OR a.purse_account_id = ANY($2))"
)


# Whoever draws from the purse may have paid: it is one purse.
_PAYING = (
    "SELECT a.id FROM (SELECT id, CASE WHEN purse_account_id IS NULL THEN id ELSE purse_account_id END"
    "  AS purse FROM accounts_account WHERE group_id = $1 AND id = ANY($2)) AS a"
    " WHERE EXISTS (SELECT FROM accounts_account m JOIN topups_order o ON o.group_id = m.group_id"
    "  AND o.account_id = m.id AND o.state = 'CREATED'"
    "  WHERE m.group_id = $1 AND (m.id = a.purse OR m.purse_account_id = a.purse))"
)


async def paying_accounts(work: UnitOfWork, *, account_ids: Sequence[UUID]) -> frozenset[UUID]:
    """Those of the accounts to whose purse money may be on its way: an order of somebody who draws from it is
    neither paid nor closed."""
    rows = await work.fetch(_PAYING, work.group_id, list(account_ids))
    return frozenset(row["id"] for row in rows)


async def wake(work: UnitOfWork, *, topups: Mapping[UUID, UUID], at: datetime) -> None:
    """Have the supplies looked at that wait for money: top-ups (their orders) brought some to purses. In the
    transaction that books it, so that power comes back whatever happens next (C21)."""
    rows = await work.fetch(_WAITING, work.group_id, list(topups.values()))
    purses = {row["purse"] for row in rows}
    events = {
        str(order_id): {"purse": str(purse)}
        for order_id, purse in topups.items()
        if purse in purses
    }
    if events:
        await emit_all(work, topic="supply.due", events=events, at=at)


async def owing_meters(work: UnitOfWork) -> dict[UUID, UUID]:
    """The CLOUD meters of accounts whose purse stands in arrears, with their projects. Whether they may be
    cut is decided elsewhere: an overdraft may be allowed."""
    rows = await work.fetch(_OWING, work.group_id)
    return {row["meter_id"]: row["project_id"] for row in rows}


async def meters_of_purse(work: UnitOfWork, *, purse: UUID) -> list[UUID]:
    """The meters in service of the accounts that draw from a purse."""
    rows = await work.fetch(_OF_PURSE, work.group_id, purse)
    return [row["meter_id"] for row in rows]
