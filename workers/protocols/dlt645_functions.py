"""The functions of DL/T 645, the reasons of a refusal, relay actions and baud codes, as data.

Source: reference/meter-protocols.md 1.3, 1.6, 1.8 and 2 (the 1997 refusal bits are general
knowledge of the standard, not seen in a public frame).
"""

from __future__ import annotations

from enum import IntEnum

from .dlt645_frame import Edition

SECURITY, BROADCAST_TIME = 0x03, 0x08
READ, READ_NEXT, READ_ADDRESS, WRITE, WRITE_ADDRESS = 0x11, 0x12, 0x13, 0x14, 0x15
FREEZE, CHANGE_BAUD, CHANGE_PASSWORD, CLEAR_DEMAND, CLEAR_METER = 0x16, 0x17, 0x18, 0x19, 0x1A
CLEAR_EVENTS, REMOTE_CONTROL, TERMINAL = 0x1B, 0x1C, 0x1D

OLD_READ, OLD_READ_NEXT, OLD_READ_AGAIN, OLD_WRITE = 0x01, 0x02, 0x03, 0x04
OLD_WRITE_ADDRESS, OLD_CHANGE_BAUD, OLD_CHANGE_PASSWORD, OLD_CLEAR_DEMAND = 0x0A, 0x0C, 0x0F, 0x10

FUNCTIONS: dict[Edition, dict[int, str]] = {
    "2007": {
        SECURITY: "security",
        BROADCAST_TIME: "broadcast-time",
        READ: "read",
        READ_NEXT: "read-follow-up",
        READ_ADDRESS: "read-address",
        WRITE: "write",
        WRITE_ADDRESS: "write-address",
        FREEZE: "freeze",
        CHANGE_BAUD: "change-baud",
        CHANGE_PASSWORD: "change-password",
        CLEAR_DEMAND: "clear-demand",
        CLEAR_METER: "clear-meter",
        CLEAR_EVENTS: "clear-events",
        REMOTE_CONTROL: "remote-control",
        TERMINAL: "multi-function-terminal",
    },
    "1997": {
        OLD_READ: "read(1997)",
        OLD_READ_NEXT: "read-follow-up(1997)",
        OLD_READ_AGAIN: "re-read(1997)",
        OLD_WRITE: "write(1997)",
        BROADCAST_TIME: "broadcast-time",
        OLD_WRITE_ADDRESS: "write-address(1997)",
        OLD_CHANGE_BAUD: "change-baud(1997)",
        OLD_CHANGE_PASSWORD: "change-password(1997)",
        OLD_CLEAR_DEMAND: "clear-demand(1997)",
    },
}

# Functions whose good answer begins with the identifier asked for, and those whose answer may be
# the first of several.
ANSWERED_WITH_DI: dict[Edition, frozenset[int]] = {
    "2007": frozenset({SECURITY, READ, READ_NEXT}),
    "1997": frozenset({OLD_READ, OLD_READ_NEXT}),
}
MAY_HAVE_MORE: dict[Edition, frozenset[int]] = {
    "2007": frozenset({READ, READ_NEXT}),
    "1997": frozenset({OLD_READ, OLD_READ_NEXT, OLD_READ_AGAIN}),
}
WRITES: dict[Edition, frozenset[int]] = {
    "2007": frozenset({WRITE}),
    "1997": frozenset({OLD_WRITE}),
}
DI_SIZE: dict[Edition, int] = {"2007": 4, "1997": 2}

REFUSALS: dict[Edition, tuple[str, ...]] = {
    "2007": (
        "other",
        "no such data",
        "password wrong / not authorised",
        "baud cannot change",
        "too many year zones",
        "too many day slots",
        "too many rates",
        "reserved",
    ),
    "1997": (
        "illegal data",
        "no such data",
        "password wrong / not authorised",
        "reserved",
        "too many year zones",
        "too many day slots",
        "too many rates",
        "reserved",
    ),
}
# The two-byte SERR of a GB prepaid meter, in the order a firmware lists it (1.11); one source.
SECURITY_REFUSALS = (
    "other",
    "recharge repeated",
    "ESAM verification failed",
    "identity authentication failed",
    "customer number mismatch",
    "purchase count error",
    "over-hoarding",
    "address error",
)


class Action(IntEnum):
    """N1 of remote control 1C. An answer 9C says "accepted", not "moved": read 04000503 after it."""

    TRIP = 0x1A
    ALLOW_CLOSE = 0x1B
    CLOSE = 0x1C
    TRIP_WITH_WARNING = 0x1D
    ALLOW_CLOSE_WITH_WARNING = 0x1E
    ALARM_ON = 0x2A
    ALARM_OFF = 0x2B
    KEEP_POWER = 0x3A
    RELEASE_KEEP_POWER = 0x3B

    @property
    def word(self) -> str:
        """How decoded frames spell it: `allow-close`."""
        return self.name.lower().replace("_", "-")


# One bit each. Some libraries write the decimal digits 16/32/64 or are one bit off: a wrong code
# cuts the meter off the bus, so function 17 is for the workshop.
BAUD_CODES = {600: 0x02, 1200: 0x04, 2400: 0x08, 4800: 0x10, 9600: 0x20, 19200: 0x40}


def function_name(function: int, *, edition: Edition) -> str | None:
    """The name of `function` in `edition`, None when it has none."""
    return FUNCTIONS[edition].get(function)


def refusal_bits(code: int, *, names: tuple[str, ...]) -> list[str]:
    """The reasons that the bits of a refusal byte name."""
    return [name for bit, name in enumerate(names) if code >> bit & 1]
