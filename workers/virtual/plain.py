"""The virtual power meters without money: a table of registers each, from section 5.5 of the reference.

`side`: whether a register shows the primary value or what comes behind the transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.kernel.clock import Clock

from . import rtu
from .load import SLOT_S
from .meter import RtuMeter
from .plan import MeterPlan, Planner, fresh_state, spec_of
from .state import MeterSpec, MeterState, Settings
from .store import MeterStore

_VOLTAGE_MV = 220_000
_POWER_FACTOR = 980
_SIZES = {"u16": 2, "s16": 2, "u32": 4, "s32": 4}


@dataclass(frozen=True, slots=True)
class Item:
    """A register: `kind` wide, showing `quantity` (Wh, mV, mA, W) in units of `per`; `by` says by
    which transformers it is smaller than the primary value."""

    register: int
    kind: str
    quantity: str
    per: int = 1
    by: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """The registers of a model; what lies between the items of one block reads as zero."""

    blocks: tuple[range, ...]
    items: tuple[Item, ...]
    functions: tuple[int, ...] = (rtu.READ_HOLDING,)


def _energies(first: int, by: str) -> tuple[Item, ...]:
    names = ("total", "spike", "peak", "flat", "valley")
    return tuple(Item(first + 2 * n, "u32", name, 10, by) for n, name in enumerate(names))


def _phases(first: int, kind: str, quantity: str, per: int, by: str) -> tuple[Item, ...]:
    return tuple(Item(first + n, kind, quantity, per, by) for n in range(3))


_BOTH = "ct pt"
TABLES: Mapping[str, Table] = {
    "ADL3000-E": Table(
        (range(0x0000, 0x001E), range(0x0061, 0x0078), range(331, 333)),
        (
            *_energies(0x0000, _BOTH),
            *_energies(0x000A, _BOTH),
            *_phases(0x0061, "u16", "voltage_mv", 100, "pt"),
            *_phases(0x0064, "u16", "current_ma", 10, "ct"),
            *_phases(0x0067, "s16", "phase_w", 1, _BOTH),
            Item(0x006A, "s16", "power_w", 1, _BOTH),
            Item(331, "u32", "ct"),
        ),
    ),
    "DTSD1352": Table(
        (range(0x0000, 0x001E), range(0x0061, 0x0078), range(0x0164, 0x0180)),
        (
            *_energies(0x0000, _BOTH),
            *_energies(0x000A, _BOTH),
            *_phases(0x0061, "u16", "voltage_mv", 100, "pt"),
            *_phases(0x0064, "u16", "current_ma", 10, "ct"),
            *(Item(0x0164 + 2 * n, "s32", "phase_w", 1, _BOTH) for n in range(3)),
            Item(0x016A, "s32", "power_w", 1, _BOTH),
        ),
    ),
    "ADW300": Table(
        (range(0x0014, 0x0042),),
        (
            *_phases(0x001A, "u16", "current_ma", 10, ""),
            Item(0x0024, "s32", "power_w"),
            Item(0x003E, "u32", "total", 10),
        ),
    ),
    "ACR10R": Table(
        (range(242, 281), range(365, 369)),
        (
            *_phases(243, "u16", "voltage_mv", 100, ""),
            *_phases(249, "u16", "current_ma", 100, ""),
            *(Item(253 + 2 * n, "s32", "phase_w") for n in range(3)),
            Item(259, "s32", "power_w"),
            Item(365, "u32", "total", 1000),
        ),
    ),
    "PZ96-E3": Table(
        (range(0, 79),),
        (
            Item(3, "u16", "pt"),
            Item(4, "u16", "ct"),
            Item(63, "u32", "total", 1, _BOTH),
        ),
    ),
    "GENERIC-MODBUS": Table((range(0, 2),), (Item(0, "u32", "total", 10, _BOTH),)),
}


class PlainMeter(RtuMeter):
    """A meter by `table`, behind transformers of `ct` and `pt`."""

    def __init__(
        self,
        model: str,
        spec: MeterSpec,
        fresh: MeterState,
        ratios: Mapping[str, int],
        *,
        store: MeterStore,
        clock: Clock,
    ) -> None:
        super().__init__(model, spec, fresh, store=store, clock=clock)
        self._table = TABLES[model]
        self._ratios = dict(ratios)

    def _read(self, request: bytes) -> bytes:
        table = self._table
        if request[1] not in table.functions:
            raise rtu.Refused(rtu.ILLEGAL_FUNCTION)
        address, count = rtu.span_of(request)
        if not any(address in block and address + count - 1 in block for block in table.blocks):
            raise rtu.Refused(rtu.ILLEGAL_ADDRESS)
        values = self._values()
        image = bytearray(2 * count + 8)  # room for a number that begins in the last register
        for item in table.items:
            if address <= item.register < address + count:
                at, size = 2 * (item.register - address), _SIZES[item.kind]
                image[at : at + size] = self._shown(item, values).to_bytes(
                    size, "big", signed=item.kind[0] == "s"
                )
        return rtu.read_answer(request, bytes(image[: 2 * count]))

    def _shown(self, item: Item, values: Mapping[str, int]) -> int:
        value = values[item.quantity]
        for name in item.by.split():
            value //= self._ratios[name]
        bits = 8 * _SIZES[item.kind] - (item.kind[0] == "s")
        return min(value // item.per, (1 << bits) - 1)  # a register ends there, it does not wrap

    def _values(self) -> dict[str, int]:
        state = self.state()
        power = self.spec.load.power_w(state.as_of // SLOT_S)
        total, (spike, peak, flat, valley) = state.shown_wh()
        phase = power // 3
        voltage = _VOLTAGE_MV * self._ratios["pt"]
        # I = P / (U x PF): W -> mA with U in mV and PF in 0.001.
        current = phase * 1_000_000_000 // (voltage * _POWER_FACTOR)
        return {
            "total": total,
            "spike": spike,
            "peak": peak,
            "flat": flat,
            "valley": valley,
            "voltage_mv": voltage,
            "current_ma": current,
            "power_w": power,
            "phase_w": phase,
            **self._ratios,
        }


def planner(model: str) -> Planner:
    """The planner of a meter without money; beside plan.spec_of's keys: energy, number, ct, pt."""

    def plan(tree: dict[str, Any]) -> MeterPlan:
        spec = spec_of(tree)
        ratios = {"ct": int(tree.get("ct", 1)), "pt": int(tree.get("pt", 1))}
        if min(ratios.values()) < 1:
            raise ValueError("ct and pt are 1 or more")
        settings = Settings(fee_on=False)
        fresh_state(tree, settings, 0)  # what is wrong with the table shows now, not at the start

        def build(store: MeterStore, clock: Clock) -> PlainMeter:
            fresh = fresh_state(tree, settings, int(clock.now().timestamp()))
            return PlainMeter(model, spec, fresh, ratios, store=store, clock=clock)

        return MeterPlan(spec.serial, str(spec.unit), build)

    return plan
