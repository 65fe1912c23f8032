"""What a virtual meter knows, and how time, sales, settings and mishaps change it. Pure.

Time is in whole unix seconds, energy in watt-seconds, money in hao; a price is hao per kWh, so
3,600,000 watt-seconds x hao/kWh make one hao. The part below one hao is carried, never lost.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .load import SLOT_S, LoadModel
from .load_control import LoadControl, LoadMemory, back_at, given_back, judged
from .tariff import band_at

CHARGE_PER_HAO = 3_600_000
HAO_PER_FEN = 100
WS_PER_WH = 3600
FEN_MAX = 2**31 - 1  # what the signed 32-bit register can show
RANGE_WH = 1_000_000_000  # a counter of eight digits: after 999999.99 kWh comes 0
COUNT_MAX = 0xFFFF


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """What a meter is built as: its name in the site file, its bus address, what hangs on it."""

    serial: str
    unit: int
    load: LoadModel


@dataclass(frozen=True, slots=True)
class Settings:
    """What a meter was told: prices in hao per kWh (in the order of load.BANDS), limits in fen, what it
    may draw, the calendar as raw bytes. `fee_on`: money opens the relay; off in a meter without a wallet."""

    prices: tuple[int, ...] = (6000, 6000, 6000, 6000)
    alarm1_fen: int = 1000
    alarm2_fen: int = 500
    overdraft_fen: int = 0
    load: LoadControl = field(default_factory=LoadControl)
    fee_on: bool = True
    zones: bytes = b""
    tables: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class MeterState:
    """The whole memory of a meter as of unix second `as_of`. `number` is what is printed on it,
    `epoch` counts how often it was replaced, `clock_s` how far its clock was set wrong."""

    as_of: int
    energy_ws: tuple[int, int, int, int]
    remaining_hao: int
    charge_rest: int = 0
    purchase_count: int = 0
    forced: bool = False
    forced_open: bool = False
    number: str = ""
    epoch: int = 0
    clock_s: int = 0
    load: LoadMemory = field(default_factory=LoadMemory)
    settings: Settings = field(default_factory=Settings)

    @property
    def closed(self) -> bool:
        """The relay: a forced state rules, then a cut for the load, else the money does (if it rules)."""
        if self.forced:
            return not self.forced_open
        if self.load.cut:
            return False
        limit = -self.settings.overdraft_fen * HAO_PER_FEN
        return not self.settings.fee_on or self.remaining_hao > limit

    @property
    def arrears(self) -> bool:
        """No money left where money rules."""
        return self.settings.fee_on and self.remaining_hao <= 0

    @property
    def remaining_fen(self) -> int:
        """Whole fen, rounded down (so an overdraft shows at least what is owed)."""
        return self.remaining_hao // HAO_PER_FEN

    def shown_wh(self) -> tuple[int, tuple[int, ...]]:
        """(total, bands) in Wh as the counters show them: they wrap at their last digit."""
        bands = tuple(energy // WS_PER_WH % RANGE_WH for energy in self.energy_ws)
        return sum(self.energy_ws) // WS_PER_WH % RANGE_WH, bands


class SaleRefused(Exception):
    """The meter does not take this sale; its wallet is as it was."""


def advance(state: MeterState, spec: MeterSpec, until: int) -> MeterState:
    """The state at unix second `until`. In one step or in many, the result is the same."""
    while state.as_of < until:
        if state.load.cut:
            back = back_at(state.settings.load, state.load)
            if back is not None and back <= until:
                state = _as_if_open(state, spec, max(state.as_of, back))
                state = replace(state, load=given_back(state.load))
                continue
        if not state.closed:
            return replace(state, as_of=until)
        state = look(state, spec)
        state = _draw(state, spec, until) if state.closed else state
    return state


def look(state: MeterState, spec: MeterSpec) -> MeterState:
    """The state after the meter looked at its load. A forced one is not opened for it."""
    if state.forced or not state.closed:
        return state
    power = drawn_w(state, spec)
    return replace(
        state, load=judged(state.settings.load, state.load, power_w=power, at=state.as_of)
    )


def drawn_w(state: MeterState, spec: MeterSpec) -> int:
    """Watts that are drawn while the relay is closed."""
    return spec.load.power_w(state.as_of // SLOT_S) + state.load.appliance_w


def _as_if_open(state: MeterState, spec: MeterSpec, until: int) -> MeterState:
    """Time goes on to `until` in a meter that cut for its load: nothing is drawn, unless it is forced on."""
    while state.closed and state.as_of < until:
        state = _draw(state, spec, until)
    return replace(state, as_of=max(state.as_of, until))


def _draw(state: MeterState, spec: MeterSpec, until: int) -> MeterState:
    """Energy and money from `as_of` on, while power and band stay; ends at the last money by itself."""
    settings = state.settings
    band, holds_until = band_at(settings.zones, settings.tables, state.as_of)
    until = min(until, holds_until)
    price = settings.prices[band] if settings.fee_on else 0
    energy = drawn_w(state, spec) * (until - state.as_of)
    if not state.forced and price > 0:
        left = state.remaining_hao + settings.overdraft_fen * HAO_PER_FEN
        affordable = left * CHARGE_PER_HAO - state.charge_rest
        energy = min(energy, -(-affordable // price))
    hao, rest = divmod(state.charge_rest + energy * price, CHARGE_PER_HAO)
    bands = list(state.energy_ws)
    bands[band] += energy
    return replace(
        state,
        as_of=until,
        energy_ws=(bands[0], bands[1], bands[2], bands[3]),
        remaining_hao=state.remaining_hao - hao,
        charge_rest=rest,
    )


def take_sale(
    state: MeterState, *, amount_fen: int, purchase_count: int, count_off: int = 0
) -> MeterState:
    """The state after a sale. Raises SaleRefused unless the count is the next one (C8), the amount
    is above zero and the wallet can hold it. `count_off`: the meter believes its count is off by it.
    """
    if purchase_count != state.purchase_count + count_off + 1:
        raise SaleRefused(f"count {purchase_count} after {state.purchase_count + count_off}")
    if amount_fen <= 0 or state.remaining_fen + amount_fen > FEN_MAX:
        raise SaleRefused(f"amount {amount_fen} fen")
    return replace(
        state,
        remaining_hao=state.remaining_hao + amount_fen * HAO_PER_FEN,
        purchase_count=state.purchase_count + 1,
    )


def near_rollover(state: MeterState, *, left_wh: int) -> MeterState:
    """The same meter, `left_wh` Wh of use before its total counter wraps."""
    others = sum(state.energy_ws) - state.energy_ws[2]
    wanted = (RANGE_WH - left_wh) * WS_PER_WH
    flat = wanted - others
    if not 0 <= left_wh <= RANGE_WH or flat < 0:
        raise ValueError(f"left_wh: {left_wh} Wh cannot be left of {RANGE_WH}")
    spike, peak, _, valley = state.energy_ws
    return replace(state, energy_ws=(spike, peak, flat, valley))


def replaced(state: MeterState, *, number: str) -> MeterState:
    """Another meter of the same kind in the same place: counters, money and count at zero, settings
    as they leave the factory."""
    return MeterState(
        as_of=state.as_of,
        energy_ws=(0, 0, 0, 0),
        remaining_hao=0,
        number=number,
        epoch=state.epoch + 1,
        settings=Settings(fee_on=state.settings.fee_on),
    )


def to_memory(state: MeterState) -> dict[str, Any]:
    """The state as JSON values."""
    memory = asdict(state)
    settings = memory["settings"]
    settings["zones"] = state.settings.zones.hex()
    settings["tables"] = [table.hex() for table in state.settings.tables]
    return memory


def of_memory(memory: dict[str, Any]) -> MeterState:
    """The state that `to_memory` gave."""
    settings = dict(memory["settings"])
    settings["prices"] = tuple(settings["prices"])
    settings["load"] = LoadControl(**settings["load"])
    settings["zones"] = bytes.fromhex(settings["zones"])
    settings["tables"] = tuple(bytes.fromhex(table) for table in settings["tables"])
    energy = memory["energy_ws"]
    return MeterState(
        **{
            **memory,
            "energy_ws": tuple(energy),
            "load": LoadMemory(**memory["load"]),
            "settings": Settings(**settings),
        },
    )
