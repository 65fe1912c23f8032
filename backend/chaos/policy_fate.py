"""What can go wrong on a site, and whether it does now: drawn from a seed, each strike counted."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """Kinds of trouble; a run in which one of them never struck proves nothing of it."""

    GATEWAY_OFF_MINUTES = "gateway_off_minutes"
    GATEWAY_OFF_DAYS = "gateway_off_days"
    GATEWAY_CLOCK = "gateway_clock"
    GATEWAY_QUEUE = "gateway_queue"
    EXPIRED_IN_GATEWAY = "expired_in_gateway"
    METER_OFF = "meter_off"
    METER_MUTE = "meter_acts_and_does_not_answer"
    METER_REFUSES = "meter_refuses"
    REQUEST_LOST = "request_lost"
    ANSWER_LOST = "answer_lost"
    ANSWER_LATE = "answer_late"
    ANSWER_DOUBLED = "answer_doubled"
    ANSWER_CORRUPT = "answer_corrupt"
    READING_LATE = "reading_late"
    NEGATIVE_USE = "negative_use"
    CHARGING_LATE = "charging_late"
    PRICE_100X = "price_100x"
    PAYMENT_UNKNOWN = "payment_unknown"
    NOTICE_LOST = "notice_lost"
    NOTICE_TWICE = "notice_twice"
    PAYMENT_IN_FLIGHT = "payment_while_the_cut_is_in_flight"
    CHANNEL_DOWN = "channel_down"
    NOT_WARNED = "warning_not_delivered"
    ENGINE_CRASH = "engine_crash"
    WORKER_CRASH = "worker_crash"
    BELL_LOST = "bell_lost"
    PROTECTED = "protected"
    KEEP_POWER = "keep_power"
    FORCED_OFF = "forced_off"
    EMERGENCY = "emergency"
    SAFETY_LOCK = "safety_lock"
    TIMETABLE = "timetable"
    TAKEOVER = "third_party_takeover"
    AT_THE_WALL = "somebody_at_the_wall"
    BUSY_BUS = "busy_bus"
    NIGHT = "night"
    HOLIDAY = "holiday"
    TRIPS_HELD = "trips_held"


# How likely a strike is where it can happen.
_ODDS = {
    Fault.REQUEST_LOST: 0.03,
    Fault.ANSWER_LOST: 0.03,
    Fault.ANSWER_LATE: 0.02,
    Fault.ANSWER_DOUBLED: 0.02,
    Fault.ANSWER_CORRUPT: 0.02,
    Fault.PAYMENT_UNKNOWN: 0.15,
    Fault.NOTICE_LOST: 0.06,
    Fault.NOTICE_TWICE: 0.06,
    Fault.ENGINE_CRASH: 0.01,
    Fault.WORKER_CRASH: 0.01,
    Fault.BELL_LOST: 0.01,
}


class Fate:
    """Draws of one site. `struck` counts what went wrong."""

    def __init__(self, seed: str) -> None:
        self.draw = Random(seed)
        self.struck: Counter[Fault] = Counter()

    def strikes(self, fault: Fault) -> bool:
        """Whether it goes wrong now."""
        struck = self.draw.random() < _ODDS[fault]
        if struck:
            self.struck[fault] += 1
        return struck

    def note(self, fault: Fault) -> None:
        """Something went wrong that was drawn elsewhere, or followed from another thing."""
        self.struck[fault] += 1
