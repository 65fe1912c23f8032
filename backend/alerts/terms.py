"""A group's quiet hours and limits of SMS: kept, read, and counted against (C28)."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import Row, UnitOfWork
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .message_rules import (
    MessageTerms,
    QuietHours,
    SmsLimits,
    SmsSent,
    check_terms,
    over_limit,
)

_KEEP = (
    "INSERT INTO alerts_message_terms (group_id, quiet_from, quiet_until, number_hour, number_day,"
    " event_day, group_day, set_by, set_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    " ON CONFLICT (group_id) DO UPDATE SET quiet_from = EXCLUDED.quiet_from,"
    " quiet_until = EXCLUDED.quiet_until, number_hour = EXCLUDED.number_hour,"
    " number_day = EXCLUDED.number_day, event_day = EXCLUDED.event_day,"
    " group_day = EXCLUDED.group_day, set_by = EXCLUDED.set_by, set_at = EXCLUDED.set_at"
)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


async def message_terms(work: UnitOfWork) -> MessageTerms:
    """The terms in force: the group's own, or the defaults."""
    row = await work.fetchrow(
        "SELECT * FROM alerts_message_terms WHERE group_id = $1", work.group_id
    )
    return MessageTerms() if row is None else terms_of(row)


def terms_of(row: Row) -> MessageTerms:
    """Terms from their table row."""
    return MessageTerms(
        QuietHours(row["quiet_from"], row["quiet_until"]),
        SmsLimits(row["number_hour"], row["number_day"], row["event_day"], row["group_day"]),
    )


async def set_message_terms(
    work: UnitOfWork, *, scope: Scope, terms: MessageTerms, at: datetime
) -> MessageTerms:
    """Keep the group's own; what is held keeps its hour. Raises Forbidden, InvalidInput."""
    scope.require(Permission.MESSAGE_WRITE)
    check_terms(terms)
    before = await message_terms(work)
    quiet, limits = terms.quiet, terms.limits
    await work.execute(
        _KEEP,
        work.group_id,
        quiet.start,
        quiet.end,
        limits.number_hour,
        limits.number_day,
        limits.event_day,
        limits.group_day,
        scope.actor.name,
        at,
    )
    await record(
        work,
        actor=scope.actor,
        action="message:terms:set",
        subject=str(work.group_id),
        at=at,
        before=_told(before),
        after=_told(terms),
    )
    return terms


async def reserve_sms(
    work: UnitOfWork,
    *,
    delivery_id: UUID,
    event: str,
    address_digest: bytes,
    limits: SmsLimits,
    at: datetime,
) -> str | None:
    """Count a first try before it is made; the limit that forbids it (`over_limit`), None when it may go.

    Two at once take turns until commit, so that the last free place is given once.
    """
    await work.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('sms-limits', $1))", work.group_id
    )
    row = await work.fetchrow(
        "SELECT count(*) FILTER (WHERE address_digest = $2 AND tried_at > $4) AS number_hour,"
        " count(*) FILTER (WHERE address_digest = $2) AS number_day,"
        " count(*) FILTER (WHERE address_digest = $2 AND event = $3) AS event_day,"
        " count(*) AS group_day FROM alerts_delivery"
        " WHERE group_id = $1 AND channel = 'SMS' AND tried_at > $5",
        work.group_id,
        address_digest,
        event,
        at - _HOUR,
        at - _DAY,
    )
    assert row is not None
    over = over_limit(limits, SmsSent(**dict(row)))
    if over is None:
        await work.execute(
            "UPDATE alerts_delivery SET tried_at = $3, address_digest = $4"
            " WHERE group_id = $1 AND id = $2",
            work.group_id,
            delivery_id,
            at,
            address_digest,
        )
    return over


def _told(terms: MessageTerms) -> dict[str, str]:
    quiet, limits = terms.quiet, terms.limits
    return {
        "quietFrom": f"{quiet.start // 60:02d}:{quiet.start % 60:02d}",
        "quietUntil": f"{quiet.end // 60:02d}:{quiet.end % 60:02d}",
        "numberHour": str(limits.number_hour),
        "numberDay": str(limits.number_day),
        "eventDay": str(limits.event_day),
        "groupDay": str(limits.group_day),
    }
