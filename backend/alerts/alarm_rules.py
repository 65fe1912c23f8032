"""What is alarmed and when: fires on crossing, re-arms above the threshold plus hysteresis (C27, A22).

Public sources: reference/domain-notes.md 2.6 (fire on crossing and not on state; alarm 1 is a light or a
sound, alarm 2 comes before the trip; one event an episode). How wide a hysteresis is, is our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType

from backend.kernel.errors import InvalidInput
from backend.kernel.money import HAO_PER_FEN, HAO_PER_YUAN


class AlarmKind(StrEnum):
    """What an alarm is about.

    LOW_1, LOW_2: money left is at a level or below; 2 is the last before the cut. ARREARS: nothing is left.
    DAYS_LEFT: the forecast. OVERLOAD: more power than the meter may draw. MALIGNANT_LOAD 恶性负载. TAMPER:
    a cover was opened. REVERSE: power flows back. CLOCK_DRIFT, METER_LOST, GATEWAY_LOST: episodes of the
    field (C24, C26). COUNT_MISMATCH: a purchase number does not fit (C8). DRIFT: book and meter differ.
    TARIFF_LAG: a meter does not hold the prices it should (C17). PAYMENT_EXCEPTION: money that no rule
    could book.
    """

    LOW_1 = "LOW_1"
    LOW_2 = "LOW_2"
    ARREARS = "ARREARS"
    DAYS_LEFT = "DAYS_LEFT"
    OVERLOAD = "OVERLOAD"
    MALIGNANT_LOAD = "MALIGNANT_LOAD"
    TAMPER = "TAMPER"
    REVERSE = "REVERSE"
    CLOCK_DRIFT = "CLOCK_DRIFT"
    METER_LOST = "METER_LOST"
    GATEWAY_LOST = "GATEWAY_LOST"
    COUNT_MISMATCH = "COUNT_MISMATCH"
    DRIFT = "DRIFT"
    TARIFF_LAG = "TARIFF_LAG"
    PAYMENT_EXCEPTION = "PAYMENT_EXCEPTION"


class AlarmLevel(IntEnum):
    """How much hurry there is: NOTICE today, WARNING this hour, URGENT now."""

    NOTICE = 1
    WARNING = 2
    URGENT = 3


LEVELS: Mapping[AlarmKind, AlarmLevel] = MappingProxyType(
    {
        AlarmKind.LOW_1: AlarmLevel.NOTICE,
        AlarmKind.LOW_2: AlarmLevel.WARNING,
        AlarmKind.ARREARS: AlarmLevel.WARNING,
        AlarmKind.DAYS_LEFT: AlarmLevel.NOTICE,
        AlarmKind.OVERLOAD: AlarmLevel.URGENT,
        AlarmKind.MALIGNANT_LOAD: AlarmLevel.URGENT,
        AlarmKind.TAMPER: AlarmLevel.URGENT,
        AlarmKind.REVERSE: AlarmLevel.WARNING,
        AlarmKind.CLOCK_DRIFT: AlarmLevel.NOTICE,
        AlarmKind.METER_LOST: AlarmLevel.WARNING,
        AlarmKind.GATEWAY_LOST: AlarmLevel.URGENT,
        AlarmKind.COUNT_MISMATCH: AlarmLevel.URGENT,
        AlarmKind.DRIFT: AlarmLevel.WARNING,
        AlarmKind.TARIFF_LAG: AlarmLevel.WARNING,
        AlarmKind.PAYMENT_EXCEPTION: AlarmLevel.URGENT,
    }
)


class Edge(StrEnum):
    """What a value did to an alarm: it FIRES, it ENDS (and is armed again), or it STAYS as it was."""

    FIRES = "FIRES"
    ENDS = "ENDS"
    STAYS = "STAYS"


def falling(value: int, *, threshold: int, hysteresis: int, is_open: bool) -> Edge:
    """An alarm of what gets too low: fires at the threshold or below, ends above it plus hysteresis."""
    if not is_open:
        return Edge.FIRES if value <= threshold else Edge.STAYS
    return Edge.ENDS if value > threshold + hysteresis else Edge.STAYS


def rising(value: int, *, threshold: int, hysteresis: int, is_open: bool) -> Edge:
    """An alarm of what gets too high: fires above the threshold, ends below it less hysteresis."""
    if not is_open:
        return Edge.FIRES if value > threshold else Edge.STAYS
    return Edge.ENDS if value < threshold - hysteresis else Edge.STAYS


def money_hysteresis(threshold_hao: int) -> int:
    """Hao above a level of money at which it is armed again: a tenth of it, at least one yuan."""
    return max(HAO_PER_YUAN, threshold_hao // 10)


def power_hysteresis(threshold_w: int) -> int:
    """Watts below a power limit at which it is armed again: a twentieth of it."""
    return threshold_w // 20


_MOST_HAO = 100_000 * HAO_PER_YUAN
_MOST_W = 1_000_000


def check_levels(*, low_1_hao: int, low_2_hao: int) -> None:
    """Raises InvalidInput unless 0 <= low 2 <= low 1 <= 100,000 yuan, both whole fen."""
    if not 0 <= low_2_hao <= low_1_hao <= _MOST_HAO:
        raise InvalidInput("low 2 is 0 or more, and low 1 is not below it", field="low2")
    if low_1_hao % HAO_PER_FEN or low_2_hao % HAO_PER_FEN:
        raise InvalidInput("alarm levels are whole fen", field="low1")


def check_overload(overload_w: int | None) -> None:
    """Raises InvalidInput unless a power limit is 1 to 1,000,000 W; None: there is none."""
    if overload_w is not None and not 1 <= overload_w <= _MOST_W:
        raise InvalidInput("a power limit is 1 to 1,000,000 W", field="overloadW")
