"""What a virtual prepaid meter knows, and how time, sales and commands change it. Pure.

Time is in whole unix seconds, energy in watt-seconds, money in hao; a price is hao per kWh, so
3,600,000 watt-seconds x hao/kWh make one hao. The part below one hao is carried, never lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .load import SLOT_S, LoadModel, band_of

CHARGE_PER_HAO = 3_600_000
HAO_PER_FEN = 100
FEN_MAX = 2**31 - 1  # what the signed 32-bit register can show


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """What a meter is built with: prices in hao per kWh and alarm limits in fen (by the band order
    of load.BANDS)."""

    serial: str
    unit: int
    load: LoadModel
    prices: tuple[int, int, int, int]
    alarm1_fen: int = 1000
    alarm2_fen: int = 500


@dataclass(frozen=True, slots=True)
class MeterState:
    """The whole memory of a meter as of unix second `as_of`."""

    as_of: int
    energy_ws: tuple[int, int, int, int]
    remaining_hao: int
    charge_rest: int = 0
    purchase_count: int = 0
    forced: bool = False
    forced_open: bool = False

    @property
    def closed(self) -> bool:
        """The relay: a forced state rules, else the money does."""
        return not self.forced_open if self.forced else self.remaining_hao > 0

    @property
    def arrears(self) -> bool:
        """No money left."""
        return self.remaining_hao <= 0

    @property
    def remaining_fen(self) -> int:
        """Whole fen, rounded down (so an overdraft shows at least what is owed)."""
        return self.remaining_hao // HAO_PER_FEN


class SaleRefused(Exception):
    """The meter does not take this sale; its wallet is as it was."""


def advance(state: MeterState, spec: MeterSpec, until: int) -> MeterState:
    """The state at unix second `until`. In one step or in many, the result is the same."""
    while state.as_of < until:
        if not state.closed:
            return replace(state, as_of=until)
        slot = state.as_of // SLOT_S
        state = _draw(state, spec, slot, min(until, (slot + 1) * SLOT_S))
    return state


def _draw(state: MeterState, spec: MeterSpec, slot: int, until: int) -> MeterState:
    """Energy and money from `as_of` to `until` inside one slot; ends at zero money by itself."""
    band = band_of(slot)
    price = spec.prices[band]
    energy = spec.load.power_w(slot) * (until - state.as_of)
    if not state.forced and price > 0:
        affordable = state.remaining_hao * CHARGE_PER_HAO - state.charge_rest
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


def take_sale(state: MeterState, *, amount_fen: int, purchase_count: int) -> MeterState:
    """The state after a sale. Raises SaleRefused unless the count is the next one (C8), the amount
    is above zero and the wallet can hold it."""
    if purchase_count != state.purchase_count + 1:
        raise SaleRefused(f"count {purchase_count} after {state.purchase_count}")
    if amount_fen <= 0 or state.remaining_fen + amount_fen > FEN_MAX:
        raise SaleRefused(f"amount {amount_fen} fen")
    return replace(
        state,
        remaining_hao=state.remaining_hao + amount_fen * HAO_PER_FEN,
        purchase_count=purchase_count,
    )
