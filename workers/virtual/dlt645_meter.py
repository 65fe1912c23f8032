"""A virtual DL/T 645 meter on a bus: frames in, frames out, its memory on disk before a word leaves it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from backend.kernel.clock import CHINA, Clock
from backend.kernel.money import Money
from workers.protocols.dlt645_answers import answer, take_request
from workers.protocols.dlt645_frame import (
    ALL_METERS,
    ANSWER_BIT,
    ERROR_BIT,
    Edition,
    Frame,
    address_matches,
    parse,
)

from .dlt645_data import answer_1997, answer_2007
from .dlt645_security import SecurityRefusal, serve
from .dlt645_state import State645, advance
from .esam import SoftwareEsam
from .faults import MeterFaults
from .store import MeterStore, Sale

_OTHER, _NO_SUCH_DATA, _WRONG_PASSWORD = 0x01, 0x02, 0x04
_CLOCK = ("04000101", "04000102")
_SYNC_WITHIN = timedelta(minutes=5)
_CHANGES = {"2007": (0x03, 0x14, 0x1C), "1997": (0x04,)}


class Dlt645Dialect:
    """How all virtual meters of one edition hear."""

    def __init__(self, edition: Edition) -> None:
        self.edition: Edition = edition

    def take(self, buffer: bytes, /) -> tuple[bytes | None, bytes]:
        """See Dialect.take."""
        return take_request(buffer, edition=self.edition)

    def address(self, request: bytes, /) -> str | None:
        """See Dialect.address: a wildcard and a broadcast call more than one."""
        called = parse(request).address
        return None if "A" in called or called == ALL_METERS else called

    def writes(self, request: bytes, /) -> bool:
        """See Dialect.writes. A wallet that is only read by function 03 counts as read."""
        frame = parse(request)
        if frame.function == 0x03 and self.edition == "2007":
            return frame.data[:4] in (b"\xff\x01\x01\x07", b"\xff\x02\x01\x07")
        return frame.function in _CHANGES[self.edition]


DIALECT_2007 = Dlt645Dialect("2007")
DIALECT_1997 = Dlt645Dialect("1997")


@dataclass(frozen=True, slots=True)
class Spec645:
    """What a meter is built with. `part_size`: most data bytes it puts into one answer frame;
    `before`: what comes out of it before each answer (FE bytes, noise of its driver chip)."""

    serial: str
    address: str
    model: str = "GENERIC-645-2007"
    edition: Edition = "2007"
    power_w: int = 800
    phases: int = 1
    passwords: Mapping[int, bytes] = field(default_factory=lambda: {2: bytes(3), 4: bytes(3)})
    part_size: int = 190
    before: bytes = b"\xfe\xfe"


class Virtual645:
    """A BusMeter that remembers in `store`; `esam` is its security chip, if it has one.

    Refusals: 01 out of time, out of place or not kept; 02 no such data; 04 wrong password. After
    each the meter is as it was.
    """

    def __init__(
        self,
        spec: Spec645,
        fresh: State645,
        *,
        store: MeterStore,
        clock: Clock,
        esam: SoftwareEsam | None = None,
    ) -> None:
        self.spec = spec
        self.faults = MeterFaults()
        self._state = fresh
        self._store = store
        self._clock = clock
        self._esam = esam
        self._said: dict[str, list[bytes]] = {}

    @property
    def serial(self) -> str:
        """See BusMeter.serial."""
        return self.spec.serial

    @property
    def bus_address(self) -> str:
        """See BusMeter.bus_address."""
        return self.spec.address

    @property
    def dialect(self) -> Dlt645Dialect:
        """See BusMeter.dialect."""
        return DIALECT_1997 if self.spec.edition == "1997" else DIALECT_2007

    def state(self) -> State645:
        """The state now."""
        self._state = advance(self._state, self.spec.power_w, int(self._clock.now().timestamp()))
        return self._state

    def memory(self) -> dict[str, Any]:
        """See BusMeter.memory."""
        return asdict(self._state)

    def take_up(self, memory: dict[str, Any], /) -> None:
        """See BusMeter.take_up."""
        self._state = State645(**{**memory, "energy_ws": tuple(memory["energy_ws"])})

    def view(self) -> dict[str, Any]:
        """See BusMeter.view."""
        state = self.state()
        return {
            "serial": self.spec.serial,
            "unit": self.spec.address,
            "model": self.spec.model,
            "remaining": str(Money.of_fen(state.balance_hao // 100)),
            "purchase_count": state.count,
            "relay": "CLOSED" if state.closed else "OPEN",
        }

    async def sales(self, *, limit: int = 10) -> list[Sale]:
        """The last sales, newest first."""
        return await asyncio.to_thread(self._store.sales, self.spec.serial, limit=limit)

    def act(self, action: str, arguments: dict[str, Any], /) -> bool:
        """See BusMeter.act. `press_key`: the customer closes a relay that may be closed."""
        if action != "press_key":
            return False
        if self.state().allowed:
            self._state = replace(self._state, tripped=False, allowed=False)
        return True

    async def answer(self, request: bytes, /) -> bytes | None:
        """See BusMeter.answer."""
        asked = parse(request)
        if asked.address == ALL_METERS:
            await self._hear_broadcast(asked)
            return None
        if not address_matches(asked=asked.address, answered=self.spec.address):
            return None
        try:
            said = await self._act(asked)
        except _Refusal as refusal:
            said = Frame(self.spec.address, asked.function | ANSWER_BIT | ERROR_BIT, refusal.data)
        return self.spec.before + said.encode()

    async def _act(self, asked: Frame) -> Frame:
        if self.spec.edition == "1997":
            acts = {0x01: self._read, 0x02: self._read_next}
        else:
            acts = {0x11: self._read, 0x12: self._read_next, 0x13: self._tell_address}
            changes = {0x03: self._secure, 0x14: self._write, 0x1C: self._control}
            if asked.function in changes:
                return await changes[asked.function](asked)
        if asked.function not in acts:
            raise _Refusal(_OTHER)
        return acts[asked.function](asked)

    def _tell_address(self, asked: Frame) -> Frame:
        own = bytes.fromhex(self.spec.address)[::-1]
        return answer(asked, data=own, address=self.spec.address)

    def _read(self, asked: Frame) -> Frame:
        size = 2 if self.spec.edition == "1997" else 4
        di = asked.data[:size][::-1].hex().upper()
        data = self._item(di)
        if data is None:
            raise _Refusal(_NO_SUCH_DATA)
        most = self.spec.part_size
        parts = [data[at : at + most] for at in range(0, len(data), most)]
        self._said = {di: parts}
        return self._part(asked, di, 0)

    def _read_next(self, asked: Frame) -> Frame:
        if self.spec.edition == "1997":
            di = asked.data[:2][::-1].hex().upper()
            self._said = {di: self._said.get(di, [])[1:]}
            return self._part(asked, di, 0)
        return self._part(asked, asked.data[:4][::-1].hex().upper(), asked.data[4])

    def _part(self, asked: Frame, di: str, number: int) -> Frame:
        parts = self._said.get(di, [])
        if number >= len(parts):
            raise _Refusal(_NO_SUCH_DATA)
        data = bytes.fromhex(di)[::-1] + parts[number]
        if number:
            data += bytes([number])
        more = number + 1 < len(parts)
        return answer(asked, data=data, address=self.spec.address, more=more)

    def _item(self, di: str) -> bytes | None:
        state, power = self._shown(), self.spec.power_w
        if self.spec.edition == "1997":
            return answer_1997(state, di, power_w=power)
        return answer_2007(
            state,
            di,
            address=self.spec.address,
            power_w=power,
            phases=self.spec.phases,
            count_off=self.faults.count_off,
        )

    def _shown(self) -> State645:
        """The state, with the clock as the fault lets it show."""
        state = self.state()
        return replace(state, clock_s=state.clock_s + self.faults.clock_offset_s)

    async def _write(self, asked: Frame) -> Frame:
        di, data = asked.data[:4][::-1].hex().upper(), asked.data[12:]
        self._check_password(asked.data[4:8], level=2 if di in _CLOCK else 4)
        state = self.state()
        if di in _CLOCK:
            after = self._set_clock(state, di, data)
        elif di not in state.settings:
            raise _Refusal(_NO_SUCH_DATA)
        elif len(data) != len(state.settings[di]) // 2 or not data.hex().isdecimal():
            raise _Refusal(_OTHER)
        else:
            after = replace(state, settings={**state.settings, di: data.hex()})
        await self._become(after)
        return answer(asked, address=self.spec.address)

    def _set_clock(self, state: State645, di: str, data: bytes) -> State645:
        shown = state.local(state.as_of)
        try:
            if di == _CLOCK[0]:
                wanted = datetime.strptime(data[1:].hex(), "%d%m%y").replace(
                    hour=shown.hour, minute=shown.minute, second=shown.second, tzinfo=CHINA
                )
            else:
                second, minute, hour = (int(f"{byte:02x}") for byte in data)
                wanted = shown.replace(hour=hour, minute=minute, second=second)
        except ValueError:
            raise _Refusal(_OTHER) from None
        ahead = int((wanted - shown).total_seconds())
        return replace(state, clock_s=state.clock_s + ahead)

    async def _control(self, asked: Frame) -> Frame:
        if len(asked.data) != 16:
            raise _Refusal(_OTHER)
        self._check_password(asked.data[:4], level=2)
        try:
            until = datetime.strptime(asked.data[10:].hex(), "%S%M%H%d%m%y").replace(tzinfo=CHINA)
        except ValueError:
            raise _Refusal(_OTHER) from None
        state, shown = self.state(), self._shown()
        if until < shown.local(shown.as_of):
            raise _Refusal(_OTHER)  # an order that lay somewhere for too long
        if asked.data[8] == 0x1A and state.kept:
            raise _Refusal(_OTHER)
        after = _switched(state, asked.data[8])
        if after is None:
            raise _Refusal(_OTHER)
        await self._become(after)
        return answer(asked, address=self.spec.address)

    async def _secure(self, asked: Frame) -> Frame:
        item, payload = asked.data[:4][::-1].hex().upper(), asked.data[8:]
        before = self.state()
        try:
            after, data = serve(before, self._esam, item, payload, count_off=self.faults.count_off)
        except SecurityRefusal as refusal:
            raise _Refusal(refusal.code, size=2) from None
        if after.count != before.count:
            fen = (after.balance_hao - before.balance_hao) // 100
            await self._become(after, Sale(after.count, fen, after.as_of), size=2)
        return answer(asked, data=asked.data[:4] + data, address=self.spec.address)

    def _check_password(self, said: bytes, *, level: int) -> None:
        """A lower level is a higher right. `said`: PA P0 P1 P2."""
        if said[0] > level or self.spec.passwords.get(said[0]) != said[1:]:
            raise _Refusal(_WRONG_PASSWORD)

    async def _hear_broadcast(self, asked: Frame) -> None:
        if asked.function != 0x08 or len(asked.data) != 6:
            return
        state = self.state()
        try:
            wanted = datetime.strptime(asked.data.hex(), "%S%M%H%d%m%y").replace(tzinfo=CHINA)
        except ValueError:
            return
        off = wanted - state.local(state.as_of)
        if abs(off) < _SYNC_WITHIN:
            with suppress(_Refusal):  # a broadcast gets no answer, not even this one
                await self._become(replace(state, clock_s=state.clock_s + int(off.total_seconds())))

    async def _become(self, after: State645, sale: Sale | None = None, *, size: int = 1) -> None:
        """Disk first, then memory: an answer never tells more than the disk knows."""
        try:
            await asyncio.to_thread(self._store.keep, self.spec.serial, asdict(after), sale)
        except sqlite3.Error:
            raise _Refusal(_OTHER, size=size) from None
        self._state = after


def _switched(state: State645, order: int) -> State645 | None:
    """The state after order N1, None for one that it does not know."""
    match order:
        case 0x1A:
            return replace(state, tripped=True, allowed=False)
        case 0x1B:
            return replace(state, allowed=state.tripped)
        case 0x1C:
            return replace(state, tripped=False, allowed=False)
        case 0x3A:
            return replace(state, kept=True, tripped=False, allowed=False)
        case 0x3B:
            return replace(state, kept=False)
    return None


class _Refusal(Exception):
    def __init__(self, code: int, *, size: int = 1) -> None:
        super().__init__(code)
        self.data = code.to_bytes(size, "little")
