"""One virtual DDSY1352-NK: requests in, answers out, its wallet on disk before a word leaves it."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass, fields, replace

from pymodbus.constants import ExcCodes
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    WriteMultipleRegistersRequest,
    WriteMultipleRegistersResponse,
)

from backend.kernel.clock import Clock
from workers.protocols.acrel import PrivateWriteAnswer, PrivateWriteRequest

from . import registers
from .state import MeterSpec, MeterState, SaleRefused, advance, take_sale
from .store import MeterStore, Sale


@dataclass(slots=True)
class MeterFaults:
    """Switches; the counters say how many more times it happens.

    silent: hears nothing, does nothing. lose_requests: the request is lost on the way, the meter
    does not act. drop_answers: acts, its answer is lost. drop_write_answers: the same, for writes
    only. corrupt_answers: acts, its answer arrives with one bit wrong. delay_ms: answers late.
    """

    silent: bool = False
    lose_requests: int = 0
    drop_answers: int = 0
    drop_write_answers: int = 0
    corrupt_answers: int = 0
    delay_ms: int = 0

    def use(self, name: str) -> bool:
        """Whether counter `name` was above zero; counts one down."""
        left: int = getattr(self, name)
        setattr(self, name, max(0, left - 1))
        return left > 0


FAULT_TYPES = {field.name: bool if field.name == "silent" else int for field in fields(MeterFaults)}


class VirtualMeter:
    """A meter of `spec`. `start` first: it takes up the state on disk, or `fresh` when there is none.

    Refusals, as Modbus exceptions: 1 another function; 2 no such register (or not writable);
    3 a wrong purchase count (the same one again too, C8), a zero or too big amount, a forced state
    that is not 0 or 1; 4 the wallet could not be written. After each the wallet is as it was.
    """

    def __init__(
        self, spec: MeterSpec, fresh: MeterState, *, store: MeterStore, clock: Clock
    ) -> None:
        self.spec = spec
        self.faults = MeterFaults()
        self._state = fresh
        self._store = store
        self._clock = clock

    async def start(self) -> None:
        """Take up the kept state, or keep the fresh one."""
        kept = await asyncio.to_thread(self._store.load, self.spec.serial)
        if kept is None:
            await asyncio.to_thread(self._store.keep, self.spec.serial, self._state)
        else:
            self._state = kept

    def state(self) -> MeterState:
        """The state now. Reads keep nothing on disk: time alone leads to the same state again."""
        self._state = advance(self._state, self.spec, int(self._clock.now().timestamp()))
        return self._state

    async def sales(self, *, limit: int = 10) -> list[Sale]:
        """The last sales, newest first."""
        return await asyncio.to_thread(self._store.sales, self.spec.serial, limit=limit)

    async def answer(self, request: ModbusPDU) -> ModbusPDU:
        """Act on `request` and give the answer or the refusal."""
        try:
            answer = await self._act(request)
        except _Refusal as refusal:
            answer = ExceptionResponse(request.function_code, refusal.code)
        answer.dev_id = self.spec.unit
        return answer

    async def _act(self, request: ModbusPDU) -> ModbusPDU:
        if isinstance(request, PrivateWriteRequest):
            return await self._sell(request)
        if isinstance(request, WriteMultipleRegistersRequest):
            return await self._force(request)
        if type(request) is ReadHoldingRegistersRequest:
            if not registers.exists(request.address, request.count):
                raise _Refusal(ExcCodes.ILLEGAL_ADDRESS)
            return ReadHoldingRegistersResponse(
                registers=registers.read(
                    self.spec, self.state(), address=request.address, count=request.count
                )
            )
        raise _Refusal(ExcCodes.ILLEGAL_FUNCTION)

    async def _sell(self, request: PrivateWriteRequest) -> ModbusPDU:
        if request.address != registers.SALE or len(request.registers) != 4:
            raise _Refusal(ExcCodes.ILLEGAL_ADDRESS)
        high, low, count, _ = request.registers
        amount_fen = high << 16 | low
        try:
            after = take_sale(self.state(), amount_fen=amount_fen, purchase_count=count)
        except SaleRefused:
            raise _Refusal(ExcCodes.ILLEGAL_VALUE) from None
        await self._keep(after, Sale(count, amount_fen, after.as_of))
        return PrivateWriteAnswer.taking(request)

    async def _force(self, request: WriteMultipleRegistersRequest) -> ModbusPDU:
        if request.address != registers.FORCED_CONTROL or len(request.registers) != 2:
            raise _Refusal(ExcCodes.ILLEGAL_ADDRESS)
        enable, state = request.registers
        if enable not in (0, 1) or state not in (0, 1):
            raise _Refusal(ExcCodes.ILLEGAL_VALUE)
        await self._keep(replace(self.state(), forced=enable == 1, forced_open=state == 1))
        return WriteMultipleRegistersResponse(address=request.address, count=2)

    async def _keep(self, after: MeterState, sale: Sale | None = None) -> None:
        """Disk first, then memory: an answer never tells more than the disk knows."""
        try:
            await asyncio.to_thread(self._store.keep, self.spec.serial, after, sale)
        except sqlite3.Error:
            raise _Refusal(ExcCodes.DEVICE_FAILURE) from None
        self._state = after


class _Refusal(Exception):
    def __init__(self, code: ExcCodes) -> None:
        super().__init__(code)
        self.code = code
