"""Pure decisions of tenancy: permissions, preset roles, login throttle."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum

from backend.kernel.errors import InvalidInput
from backend.kernel.money import HAO_PER_FEN, HAO_PER_YUAN, Money

MAX_FAILED_LOGINS = 5
THROTTLE = timedelta(minutes=15)
SESSION_IDLE = timedelta(minutes=30)
SESSION_LIFE = timedelta(hours=12)


class Permission(StrEnum):
    """What a role may allow; every mutation names one (C30). Printed in the schema's docs."""

    PROJECT_READ = "project:read"
    PROJECT_WRITE = "project:write"
    OPERATOR_WRITE = "operator:write"
    CREDENTIAL_WRITE = "credential:write"
    ACCOUNT_READ = "account:read"
    ACCOUNT_WRITE = "account:write"
    ACCOUNT_CLOSE = "account:close"
    METER_READ = "meter:read"
    METER_WRITE = "meter:write"
    METER_REFRESH = "meter:refresh"
    METER_EXPORT = "meter:export"
    METER_CONTROL = "meter:control"
    METER_PROTECT = "meter:protect"
    BATCH_RUN = "batch:run"
    BATCH_APPROVE = "batch:approve"
    SUPPLY_APPROVE = "supply:approve"
    METER_REPLACE = "meter:replace"
    REPLACEMENT_APPROVE = "replacement:approve"
    GATEWAY_KEYS = "gateway:keys"
    TOPUP_READ = "topup:read"
    REFUND_REQUEST = "refund:request"
    REFUND_APPROVE = "refund:approve"
    CASH_TAKE = "cash:take"
    SHIFT_CLOSE = "shift:close"
    CHARGE_WRITE = "charge:write"
    CREDIT_WRITE = "credit:write"
    PURSE_WRITE = "purse:write"
    TARIFF_READ = "tariff:read"
    TARIFF_WRITE = "tariff:write"
    TARIFF_APPROVE = "tariff:approve"
    RECONCILE_READ = "reconcile:read"
    RECONCILE_WRITE = "reconcile:write"
    ALARM_READ = "alarm:read"
    ALARM_ACKNOWLEDGE = "alarm:acknowledge"
    MESSAGE_READ = "message:read"
    MESSAGE_WRITE = "message:write"
    CASE_READ = "case:read"
    CASE_RESOLVE = "case:resolve"
    AUDIT_READ = "audit:read"


_READS = [p for p in Permission if p.value.endswith(":read")]

PRESET_ROLES: dict[str, list[Permission]] = {
    "administrator": list(Permission),
    # No METER_CONTROL: who may switch off somebody's power is named one by one.
    "manager": [
        *_READS,
        Permission.ACCOUNT_WRITE,
        Permission.ACCOUNT_CLOSE,
        Permission.METER_WRITE,
        Permission.METER_REPLACE,
        Permission.REPLACEMENT_APPROVE,
        Permission.METER_REFRESH,
        Permission.METER_EXPORT,
        Permission.METER_PROTECT,
        Permission.SUPPLY_APPROVE,
        Permission.BATCH_APPROVE,
        Permission.ALARM_ACKNOWLEDGE,
        Permission.MESSAGE_WRITE,
        Permission.CASE_RESOLVE,
        Permission.RECONCILE_WRITE,
        Permission.REFUND_REQUEST,
        Permission.REFUND_APPROVE,
        Permission.SHIFT_CLOSE,
        Permission.PURSE_WRITE,
        Permission.TARIFF_WRITE,
        Permission.TARIFF_APPROVE,
    ],
    "cashier": [
        Permission.PROJECT_READ,
        Permission.ACCOUNT_READ,
        Permission.METER_READ,
        Permission.TOPUP_READ,
        Permission.CASH_TAKE,
        Permission.SHIFT_CLOSE,
        Permission.REFUND_REQUEST,
    ],
    "auditor": _READS,
}


def locked_until(*, failed: int, since: datetime | None, now: datetime) -> datetime | None:
    """When the next login try is accepted, or None when it is accepted now.

    Five failures within fifteen minutes lock the login for fifteen minutes from the first one.
    """
    if failed < MAX_FAILED_LOGINS or since is None or now >= since + THROTTLE:
        return None
    return since + THROTTLE


def failures_after(*, failed: int, since: datetime | None, now: datetime) -> tuple[int, datetime]:
    """The failure count and the start of its window after one more failure at `now`."""
    if since is None or now >= since + THROTTLE:
        return 1, now
    return failed + 1, since


def check_collection(*, sweep_minutes: int, lost_after_sweeps: int) -> None:
    """Raises InvalidInput unless meters are read each 5 minutes to a day, and lost after 1 to 48 sweeps."""
    if not 5 <= sweep_minutes <= 1440:
        raise InvalidInput("a sweep is each 5 to 1440 minutes", field="sweepMinutes")
    if not 1 <= lost_after_sweeps <= 48:
        raise InvalidInput("a meter is lost after 1 to 48 sweeps", field="lostAfterSweeps")


def check_refund_limit(alone: Money) -> int:
    """What one operator refunds alone of an order, in fen: whole fen, 0 to 100,000 yuan.

    Raises InvalidInput.
    """
    if not 0 <= alone.hao <= 100_000 * HAO_PER_YUAN or alone.hao % HAO_PER_FEN:
        raise InvalidInput("one operator refunds alone 0 to 100,000 yuan", field="alone")
    return alone.fen


def check_estimates(after_days: int) -> None:
    """Raises InvalidInput unless meters are charged provisionally after 1 to 31 days of silence, or 0:
    only when asked."""
    if not 0 <= after_days <= 31:
        raise InvalidInput("estimate after 1 to 31 days, or 0: never unasked", field="afterDays")


def check_warning(days_left: int) -> None:
    """Raises InvalidInput unless customers are warned 1 to 30 days before their money ends, or 0: only before
    the office closes for longer."""
    if not 0 <= days_left <= 30:
        raise InvalidInput("warn 0 to 30 days before money ends", field="daysLeft")


def check_batch_limit(alone: int) -> None:
    """Raises InvalidInput unless one operator may give batches to 0 to 1,000 meters an hour alone."""
    if not 0 <= alone <= 1000:
        raise InvalidInput("one operator gives batches alone to 0 to 1,000 meters", field="alone")


def check_password_strength(password: str) -> None:
    """Raises InvalidInput for a password shorter than 12, or without both letters and digits."""
    if len(password) < 12 or not re.search(r"[A-Za-z]", password) or not re.search(r"\d", password):
        raise InvalidInput(
            "a password needs 12 characters with letters and digits", field="password"
        )


def split_login(text: str) -> tuple[str, str]:
    """`ling@hq` as (login, group code). Raises InvalidInput when there is no group part."""
    login, at, code = text.strip().lower().partition("@")
    if not login or not at or not code or len(login) > 64:
        raise InvalidInput("log in as name@group", field="login")
    return login, code
