"""A virtual CJ/T 188 water or heat meter on a bus, its valve one that takes its time."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from backend.kernel.clock import CHINA, Clock
from workers.protocols.cjt188 import Cjt188Frame, parse_frame, take_frame

from .faults import MeterFaults
from .store import MeterStore

_READ, _READ_ADDRESS, _WRITE = 0x01, 0x03, 0x04
_ANSWER, _REFUSAL = 0x80, 0xC0
_ANYBODY = "AA" * 7
_LITRES_PER_UNIT = {0x29: 1, 0x2C: 1000}
_NO_CLOCK = bytes(7)
ML = 3600  # units of State188.flowed in a millilitre


class Cjt188Dialect:
    """How all virtual CJ/T 188 meters hear."""

    def take(self, buffer: bytes, /) -> tuple[bytes | None, bytes]:
        """See Dialect.take."""
        while True:
            frame, buffer = take_frame(buffer)
            if frame is None:
                return None, buffer
            digits = frame.address.replace("AA", "")
            if not frame.is_answer and (digits.isdecimal() or not digits):
                return replace(frame, wake_up=0).encode(), buffer

    def address(self, request: bytes, /) -> str | None:
        """See Dialect.address: with AA in it more than one may be called."""
        called = parse_frame(request).address
        return None if "A" in called else called

    def writes(self, request: bytes, /) -> bool:
        """See Dialect.writes."""
        return parse_frame(request).control == _WRITE


DIALECT_188 = Cjt188Dialect()


@dataclass(frozen=True, slots=True)
class Spec188:
    """What a meter is built with. `form` water or heat; `type` is what it answers as, whatever type is
    asked. `unit` is the code of its volume (2C m3, 29 L) or energy (05 kWh, ..), with `unit_first` or
    behind the value. `closed_bits` and `moving_bits` (None: as before it moved) are its valve bits.
    `settlement`: what energy-1 shows: settlement (of a heat meter) or cold. `before`: bytes that come
    out of it before each answer. `fixed_ser`: it answers 00 instead of the number asked."""

    serial: str
    address: str
    model: str = "GENERIC-188-WATER"
    form: str = "water"
    type: int = 0x10
    unit: int = 0x2C
    unit_first: bool = False
    di_low_first: bool = False
    valve: bool = False
    open_code: int = 0x55
    close_code: int = 0x99
    closed_bits: int = 1
    moving_bits: int | None = None
    moving_s: int = 12
    litres_an_hour: int = 60
    heat_w: int = 3000
    cold_w: int = 0
    has_clock: bool = True
    fixed_ser: bool = False
    before: bytes = b"\xfe\xfe\xfe"


@dataclass(frozen=True, slots=True)
class State188:
    """The whole memory since it was new: `flowed` in 3,600ths of a millilitre (so that one step and many
    give the same), heat and cold in watt-seconds; the valve is on its way from `was_open` to `is_open`
    until `moves_until`."""

    as_of: int
    flowed: int = 0
    heat_ws: int = 0
    cold_ws: int = 0
    is_open: bool = True
    was_open: bool = True
    moves_until: int = 0
    battery_low: bool = False

    @property
    def millilitres(self) -> int:
        """The volume."""
        return self.flowed // ML

    @property
    def flows(self) -> bool:
        """Whether water passes: a valve lets it through until it is shut."""
        return self.is_open or (self.was_open and self.as_of < self.moves_until)


def advance(state: State188, spec: Spec188, until: int) -> State188:
    """The state at unix second `until`. In one step or in many, the result is the same."""
    while state.as_of < until:
        end = min(until, state.moves_until) if state.as_of < state.moves_until else until
        seconds = end - state.as_of if state.flows else 0
        state = replace(
            state,
            as_of=end,
            flowed=state.flowed + spec.litres_an_hour * 1000 * seconds,
            heat_ws=state.heat_ws + spec.heat_w * seconds,
            cold_ws=state.cold_ws + spec.cold_w * seconds,
        )
    return state


class Virtual188:
    """A BusMeter. Refuses (C1, C4) what it does not know."""

    def __init__(self, spec: Spec188, fresh: State188, *, store: MeterStore, clock: Clock) -> None:
        self.spec = spec
        self.faults = MeterFaults()
        self._state = fresh
        self._clock = clock
        self._store = store

    @property
    def serial(self) -> str:
        """See BusMeter.serial."""
        return self.spec.serial

    @property
    def bus_address(self) -> str:
        """See BusMeter.bus_address."""
        return self.spec.address

    @property
    def dialect(self) -> Cjt188Dialect:
        """See BusMeter.dialect."""
        return DIALECT_188

    def state(self) -> State188:
        """The state now."""
        self._state = advance(self._state, self.spec, int(self._clock.now().timestamp()))
        return self._state

    def memory(self) -> dict[str, Any]:
        """See BusMeter.memory."""
        return asdict(self._state)

    def take_up(self, memory: dict[str, Any], /) -> None:
        """See BusMeter.take_up."""
        self._state = State188(**memory)

    def view(self) -> dict[str, Any]:
        """See BusMeter.view."""
        state = self.state()
        return {
            "serial": self.spec.serial,
            "unit": self.spec.address,
            "model": self.spec.model,
            "litres": state.millilitres // 1000,
            "heat_wh": state.heat_ws // 3600,
            "cold_wh": state.cold_ws // 3600,
            "relay": "CLOSED" if state.flows else "OPEN",
        }

    def act(self, action: str, arguments: dict[str, Any], /) -> bool:
        """See BusMeter.act. `battery_low`: its battery is low from now on."""
        if action != "battery_low":
            return False
        self._state = replace(self._state, battery_low=True)
        return True

    async def answer(self, request: bytes, /) -> bytes | None:
        """See BusMeter.answer."""
        asked = parse_frame(request)
        if asked.address not in (_ANYBODY, self.spec.address):
            return None
        data = await self._act(asked)
        control = asked.control | (_ANSWER if data is not None else _REFUSAL)
        if data is None:
            data = asked.data[2:3] + self._status()
        said = Cjt188Frame(self.spec.type, self.spec.address, control, data)
        return self.spec.before + said.encode()

    async def _act(self, asked: Cjt188Frame) -> bytes | None:
        """The data of the answer; None to refuse."""
        named = {bytes.fromhex(text): di for di in _KNOWN for text in (di, di[2:] + di[:2])}
        item = named.get(asked.data[:2], "")
        head = self._head(asked, item)
        if (asked.control, item) == (_READ, "901F"):
            state = self.state()
            return head + (self._water(state) if self.spec.form == "water" else self._heat(state))
        if (asked.control, item) == (_READ_ADDRESS, "810A"):
            return head
        if (asked.control, item) == (_WRITE, "A017") and self.spec.valve and len(asked.data) == 4:
            return head + self._status() if await self._turn(asked.data[3]) else None
        return None

    def _head(self, asked: Cjt188Frame, item: str) -> bytes:
        di = bytes.fromhex(item)
        ser = bytes(1) if self.spec.fixed_ser else asked.data[2:3]
        return (di[::-1] if self.spec.di_low_first else di) + ser

    def _water(self, state: State188) -> bytes:
        per_unit = _LITRES_PER_UNIT[self.spec.unit]
        hundredths = state.millilitres * 100 // (1000 * per_unit)
        return (
            self._amount(hundredths, self.spec.unit)
            + self._amount(0, self.spec.unit)
            + self._time()
            + self._status()
        )

    def _heat(self, state: State188) -> bytes:
        heat, cold = state.heat_ws // 36_000, state.cold_ws // 36_000  # 0.01 kWh
        first = cold if self.spec.cold_w else 0
        flowing = self.spec.heat_w if state.flows else 0
        return b"".join(
            (
                self._amount(first, 0x05),
                self._amount(heat, 0x05),
                self._amount(flowing // 10, 0x17),
                self._amount(self.spec.litres_an_hour * 10, 0x35),
                self._amount(state.millilitres // 10_000, 0x2C),
                _bcd(4512, 3),
                _bcd(3127, 3),
                _bcd(273, 3),
                self._time(),
                self._status(),
            )
        )

    def _amount(self, value: int, unit: int) -> bytes:
        digits = _bcd(value, 4)
        return bytes([unit]) + digits if self.spec.unit_first else digits + bytes([unit])

    def _time(self) -> bytes:
        if not self.spec.has_clock:
            return _NO_CLOCK
        at = self._state.as_of + self.faults.clock_offset_s
        now = datetime.fromtimestamp(at, UTC).astimezone(CHINA)
        return bytes.fromhex(f"{now:%S%M%H%d%m}{now.year % 100:02d}{now.year // 100:02d}")

    def _status(self) -> bytes:
        state = self.state()
        bits = 0 if state.is_open else self.spec.closed_bits
        if state.as_of < state.moves_until:
            before = 0 if state.was_open else self.spec.closed_bits
            bits = before if self.spec.moving_bits is None else self.spec.moving_bits
        if not self.spec.valve:
            bits = 0
        return bytes([bits | (4 if state.battery_low else 0), 0])

    async def _turn(self, code: int) -> bool:
        state = self.state()
        if code not in (self.spec.open_code, self.spec.close_code):
            return False
        opens = code == self.spec.open_code
        if opens == state.is_open:
            return True
        after = replace(
            state,
            is_open=opens,
            was_open=state.is_open,
            moves_until=state.as_of + self.spec.moving_s,
        )
        try:
            await asyncio.to_thread(self._store.keep, self.spec.serial, asdict(after))
        except sqlite3.Error:
            return False
        self._state = after
        return True


_KNOWN = ("901F", "810A", "A017")


def _bcd(value: int, size: int) -> bytes:
    return bytes.fromhex(f"{value:0{2 * size}d}"[-2 * size :])[::-1]
