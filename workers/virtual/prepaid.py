"""The virtual prepaid meters: DDSY1352, DTSY1352, the circuits of an ADF300 and their like."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import datetime
from typing import Any

from backend.kernel.clock import CHINA, Clock
from backend.kernel.money import Money

from . import registers, rtu
from .load_control import plugged
from .meter import RtuMeter
from .plan import MeterPlan, Planner, fresh_state, spec_of
from .registers import Family, Shown
from .state import MeterSpec, MeterState, SaleRefused, Settings, look, take_sale
from .store import MeterStore, Sale

_FEE_SIZE, _LOAD_SIZE, _PHASES_SIZE, _CLOCK_SIZE = 60, 26, 10, 10
# Enable bytes of the fee write that would set the meter's money, its count or its number.
_FORBIDDEN = (2, 7, 10, 15, 51, 53)
_MOST_PLUGGED_W = 20_000
_LOAD_GROUPS = (0, 2, 9, 11, 14, 17)
_PRICES = ("0.6", "0.6", "0.6", "0.6")
_Outcome = tuple[MeterState, Sale | None, bytes]


class PrepaidMeter(RtuMeter):
    """A meter that holds its money. Beside RtuMeter's refusals: 3 for a wrong purchase count (the same
    one again too, C8), a zero or too big amount, a forced state that is not 0 or 1, a time that is
    none, a write that would set its money past the sale."""

    def __init__(
        self,
        model: str,
        spec: MeterSpec,
        fresh: MeterState,
        family: Family,
        *,
        store: MeterStore,
        clock: Clock,
    ) -> None:
        super().__init__(model, spec, fresh, store=store, clock=clock)
        self.family = family
        self._blocks = registers.blocks_of(family)

    def act(self, action: str, arguments: dict[str, Any], /) -> bool:
        """See RtuMeter.act; plug {watts}: a resistive appliance is plugged in behind it, 0: out."""
        if action != "plug":
            return super().act(action, arguments)
        watts = int(arguments["watts"])
        if not 0 <= watts <= _MOST_PLUGGED_W:
            raise ValueError(f"watts: 0 to {_MOST_PLUGGED_W}, not {watts}")
        state = self.state()
        self._state = look(replace(state, load=plugged(state.load, watts)), self.spec)
        return True

    def _read(self, request: bytes) -> bytes:
        if request[1] != rtu.READ_HOLDING:
            raise rtu.Refused(rtu.ILLEGAL_FUNCTION)
        state = self.state()
        count = state.purchase_count + self.faults.count_off
        shown = Shown(self.spec, self.family, state, count & 0xFFFF, self.own_clock())
        data = registers.read(self._blocks, shown, *rtu.span_of(request))
        if data is None:
            raise rtu.Refused(rtu.ILLEGAL_ADDRESS)
        return rtu.read_answer(request, data)

    def _write(self, request: bytes) -> _Outcome:
        if request[1] == rtu.WRITE_MANY:
            return self._write_many(request)
        if request[1] != rtu.PRIVATE:
            raise rtu.Refused(rtu.ILLEGAL_FUNCTION)
        data, (address, _) = rtu.data_of(request), rtu.span_of(request)
        if address == registers.SALE and len(data) == 8:
            return self._sell(request, data)
        known = {
            (registers.FEE_WRITE, _FEE_SIZE): _fee_settings,
            (registers.LOAD_WRITE, _LOAD_SIZE): _load_settings,
        }.get((address, len(data)))
        state = self.state()
        if known is not None:
            after = replace(state, settings=known(state.settings, data))
        elif (address, len(data)) == (registers.CLOCK_WRITE, _CLOCK_SIZE):
            after = self._set_clock(data)
        elif (address, len(data)) == (registers.FORCED_PHASES, _PHASES_SIZE):
            after = self._force_phases(data)
        else:
            raise rtu.Refused(rtu.ILLEGAL_ADDRESS)
        return after, None, rtu.private_answer(request)

    def _sell(self, request: bytes, data: bytes) -> _Outcome:
        amount, count, _ = struct.unpack(">IHH", data)
        try:
            after = take_sale(
                self.state(),
                amount_fen=amount,
                purchase_count=count,
                count_off=self.faults.count_off,
            )
        except SaleRefused:
            raise rtu.Refused(rtu.ILLEGAL_VALUE) from None
        sale = Sale(after.purchase_count, amount, after.as_of)
        return after, sale, rtu.private_answer(request)

    def _write_many(self, request: bytes) -> _Outcome:
        data, (address, count) = rtu.data_of(request), rtu.span_of(request)
        state, family = self.state(), self.family
        settings = state.settings
        if (address, count) == (registers.FORCED_CONTROL, 2) and not family.by_phase:
            after = _force(state, *struct.unpack(">HH", data))
        elif (address, count) == (family.zones, registers.ZONE_REGISTERS):
            after = replace(state, settings=replace(settings, zones=data))
        elif address in family.tables and count == registers.TABLE_REGISTERS:
            tables = list((*settings.tables, bytes(42), bytes(42))[:2])
            tables[family.tables.index(address)] = data
            after = replace(state, settings=replace(settings, tables=tuple(tables)))
        else:
            raise rtu.Refused(rtu.ILLEGAL_ADDRESS)
        return after, None, rtu.write_answer(request)

    def _set_clock(self, data: bytes) -> MeterState:
        second, minute, hour, _, day, month, year = data[:7]
        try:
            told = datetime(2000 + year, month, day, hour, minute, second, tzinfo=CHINA)
        except ValueError:
            raise rtu.Refused(rtu.ILLEGAL_VALUE) from None
        # The clock is right by its own lights now; what drifts goes on drifting from here.
        self.faults.clock_offset_s = 0
        self._drift = (self.faults.clock_drift_s, self._now())
        return replace(self.state(), clock_s=int(told.timestamp()) - self._now())

    def _force_phases(self, data: bytes) -> MeterState:
        if not self.family.by_phase:
            raise rtu.Refused(rtu.ILLEGAL_ADDRESS)
        asked = {(data[at + 1], data[at + 2]) for at in (0, 3, 6) if data[at] == 1}
        if len(asked) != 1:
            raise rtu.Refused(rtu.ILLEGAL_VALUE)  # phases of their own are not modelled
        return _force(self.state(), *asked.pop())


def _force(state: MeterState, enable: int, opened: int) -> MeterState:
    if enable not in (0, 1) or opened not in (0, 1):
        raise rtu.Refused(rtu.ILLEGAL_VALUE)
    return replace(state, forced=enable == 1, forced_open=opened == 1)


def _fee_settings(settings: Settings, data: bytes) -> Settings:
    if any(data[at] for at in _FORBIDDEN):
        raise rtu.Refused(rtu.ILLEGAL_VALUE)
    if data[0]:
        settings = replace(settings, fee_on=data[1] == 1)
    if data[20]:
        alarm1, alarm2 = struct.unpack_from(">II", data, 21)
        settings = replace(settings, alarm1_fen=alarm1, alarm2_fen=alarm2)
    if data[29]:
        settings = replace(settings, prices=struct.unpack_from(">4I", data, 30))
    if data[46]:
        settings = replace(settings, overdraft_fen=struct.unpack_from(">I", data, 47)[0])
    return settings


def _load_settings(settings: Settings, data: bytes) -> Settings:
    """Each group stands behind the byte that says that it is meant; a write that means nothing is refused."""
    told = settings.load
    if not any(data[at] for at in _LOAD_GROUPS):
        raise rtu.Refused(rtu.ILLEGAL_VALUE)
    if data[0]:
        told = replace(told, on=data[1] == 1)
    if data[2]:
        most, step, factor = struct.unpack_from(">3H", data, 3)
        told = replace(told, most_w=most, step_w=step, factor_permille=factor)
    if data[9]:
        told = replace(told, restore_minutes=data[10])
    if data[11]:
        told = replace(told, trips=struct.unpack_from(">H", data, 12)[0])
    if data[14]:
        told = replace(told, odd_word=struct.unpack_from(">H", data, 15)[0])
    if data[17]:
        told = replace(told, odd_byte=data[18])
    return replace(settings, load=told)


def planner(model: str, family: Family) -> Planner:
    """The planner of a prepaid model; beside plan.spec_of's keys a table may have energy, remaining,
    purchase_count, number, prices (yuan per kWh: spike, peak, flat, valley), ct, pt."""

    def plan(tree: dict[str, Any]) -> MeterPlan:
        spec = spec_of(tree)
        prices = tuple(Money.parse(price).hao for price in tree.get("prices", _PRICES))
        if len(prices) != 4:
            raise ValueError("prices: four of them, spike, peak, flat, valley")
        ct, pt = int(tree.get("ct", 1)), int(tree.get("pt", 1))
        if min(ct, pt) < 1:
            raise ValueError("ct and pt are 1 or more")
        mine = replace(family, ct=ct, pt=pt, box=tree.get("circuits"))
        settings = Settings(prices=prices)
        fresh_state(tree, settings, 0)  # what is wrong with the table shows now, not at the start

        def build(store: MeterStore, clock: Clock) -> PrepaidMeter:
            fresh = fresh_state(tree, settings, int(clock.now().timestamp()))
            return PrepaidMeter(model, spec, fresh, mine, store=store, clock=clock)

        return MeterPlan(spec.serial, str(spec.unit), build)

    return plan
