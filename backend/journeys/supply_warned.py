"""Since when accounts are warned of a cut (C20): an episode of money stands, a provider took news of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from backend.alerts.ports import MessageChannel
from backend.kernel.db import UnitOfWork

from .alarm_money import CUT_WARNINGS, warning_key

_STANDING = (
    "SELECT a.id AS account_id, w.id AS alarm_id FROM accounts_account a"
    " JOIN alerts_alarm w ON w.group_id = a.group_id AND w.kind = ANY($3) AND w.ended_at IS NULL"
    "  AND w.subject = coalesce(a.purse_account_id, a.id)::text"
    " WHERE a.group_id = $1 AND a.id = ANY($2)"
)
# Each customer's message has the key and something more.
_ACCEPTED = (
    "SELECT k.key, min(d.sent_at) AS at FROM unnest($2::text[]) AS k(key)"
    " JOIN alerts_delivery d ON d.group_id = $1 AND d.channel = ANY($3) AND d.state = 'SENT'"
    "  AND d.key > k.key || '-' AND d.key < k.key || '.' GROUP BY 1"
)


async def warned_since(work: UnitOfWork, *, account_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """When the first warning of the standing episode of each account was accepted by a provider; an account
    that nobody is known to have been warned of has no entry."""
    if not account_ids:
        return {}
    kinds = [str(kind) for kind in CUT_WARNINGS]
    rows = await work.fetch(_STANDING, work.group_id, list(account_ids), kinds)
    keys = {warning_key(row["alarm_id"], row["account_id"]): row["account_id"] for row in rows}
    if not keys:
        return {}
    channels = [str(channel) for channel in MessageChannel]
    warned: dict[UUID, datetime] = {}
    for row in await work.fetch(_ACCEPTED, work.group_id, list(keys), channels):
        account_id = keys[row["key"]]
        warned[account_id] = min(row["at"], warned.get(account_id, row["at"]))
    return warned
