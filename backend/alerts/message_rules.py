"""When a message waits for the morning, and when there were too many (C28, channels.md section 5). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.kernel.clock import CHINA
from backend.kernel.errors import InvalidInput

# Told at any hour: who is cut, restored, or waits for an answer of ours (C28).
AT_ONCE = frozenset({"cut", "restored", "load_cut", "bind_code", "bot_reply"})
# Worth nothing the next day, and never sent twice.
CODES = frozenset({"bind_code"})
_MORNING = 8 * 60
# A message that a provider's limit holds back is tried on this many mornings.
LATEST = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Minutes of the day in China, over midnight when `start` is later; none when they are equal."""

    start: int = 21 * 60
    end: int = _MORNING


@dataclass(frozen=True, slots=True)
class SmsLimits:
    """At most so many SMS: to a number in an hour and a day, to a number of one event in a day, of the
    group in a day. Stricter than the provider's (5 codes an hour, 10 a day, 40 of all) [doc]."""

    number_hour: int = 4
    number_day: int = 8
    event_day: int = 5
    group_day: int = 2_000


@dataclass(frozen=True, slots=True)
class MessageTerms:
    """How a group tells its customers."""

    quiet: QuietHours = QuietHours()
    limits: SmsLimits = SmsLimits()


@dataclass(frozen=True, slots=True)
class SmsSent:
    """SMS handed over before: to this number in the last hour and day, to it of this event in the last day,
    of the group in the last day."""

    number_hour: int
    number_day: int
    event_day: int
    group_day: int


def held_until(quiet: QuietHours, *, event: str, at: datetime) -> datetime | None:
    """When a message of `event` may go out; None: now."""
    if event in AT_ONCE or quiet.start == quiet.end:
        return None
    local = at.astimezone(CHINA)
    minute = local.hour * 60 + local.minute
    if quiet.start < quiet.end:
        held = quiet.start <= minute < quiet.end
    else:
        held = minute >= quiet.start or minute < quiet.end
    if not held:
        return None
    end = local.replace(hour=quiet.end // 60, minute=quiet.end % 60, second=0, microsecond=0)
    return (end if end > local else end + timedelta(days=1)).astimezone(at.tzinfo)


def next_morning(quiet: QuietHours, *, at: datetime) -> datetime:
    """The first minute of tomorrow in China at which messages go out."""
    local = at.astimezone(CHINA) + timedelta(days=1)
    minute = _MORNING if quiet.start == quiet.end else quiet.end
    morning = local.replace(hour=minute // 60, minute=minute % 60, second=0, microsecond=0)
    return morning.astimezone(at.tzinfo)


def over_limit(limits: SmsLimits, sent: SmsSent) -> str | None:
    """Which limit forbids one more SMS: `number`, `event` or `group`; None: none does."""
    if sent.group_day >= limits.group_day:
        return "group"
    if sent.number_hour >= limits.number_hour or sent.number_day >= limits.number_day:
        return "number"
    if sent.event_day >= limits.event_day:
        return "event"
    return None


def check_terms(terms: MessageTerms) -> None:
    """Raises InvalidInput unless the hours are minutes of a day and the limits are not looser than the
    provider's."""
    for name, minute in (("quietFrom", terms.quiet.start), ("quietUntil", terms.quiet.end)):
        if not 0 <= minute < 24 * 60:
            raise InvalidInput("a time of day is 00:00 to 23:59", field=name)
    limits = terms.limits
    for name, value, most in (
        ("numberHour", limits.number_hour, 5),
        ("numberDay", limits.number_day, 40),
        ("eventDay", limits.event_day, 10),
        ("groupDay", limits.group_day, 100_000),
    ):
        if not 1 <= value <= most:
            raise InvalidInput(f"the limit {name} is 1 to {most}", field=name)
