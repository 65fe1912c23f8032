"""DL/T 645 and CJ/T 188 meters of a site file: what their tables become.

Keys beside serial and model: `address` (12 or 14 digits, else from the serial), `power_w` or
`litres_an_hour`, `energy` or `volume` at first start (kWh, m3), and for prepaid ones `remaining`
and `purchase_count`. A meter with a security chip is not among them: the chip's keys are made at
run time and no file holds them (tests build it themselves).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.kernel.clock import Clock
from backend.kernel.money import Money

from .bus import BusMeter
from .cjt188_meter import ML, Spec188, State188, Virtual188
from .dlt645_meter import Spec645, Virtual645
from .dlt645_state import State645
from .plan import MeterPlan, Planner
from .store import MeterStore

_WS_PER_WH = 3600
_VALVE: Mapping[str, Any] = {"valve": True}
_WATER: Mapping[str, Mapping[str, Any]] = {
    "GENERIC-188-WATER": {},
    "JICHENG-188-VALVE": _VALVE,
    "AIMEIKE-188-VALVE": _VALVE,
    "LIANLI-188-VALVE": _VALVE,
    "GENERIC-188-HEAT": {"form": "heat", "type": 0x20, "di_low_first": True},
    "GENERIC-188-HEATCOLD": {
        "form": "heat",
        "type": 0x25,
        "di_low_first": True,
        "cold_w": 1500,
    },
}


def _electric(model: str) -> Planner:
    old = model.endswith("-1997")

    def plan(tree: dict[str, Any]) -> MeterPlan:
        serial = str(tree["serial"])
        address = _digits(tree.get("address", serial), 12)
        remaining = Money.parse(str(tree.get("remaining", "0")))
        spec = Spec645(
            serial=serial,
            address=address,
            model=model,
            edition="1997" if old else "2007",
            power_w=int(tree.get("power_w", 500)),
        )

        def build(store: MeterStore, clock: Clock) -> BusMeter:
            state = State645(
                as_of=int(clock.now().timestamp()),
                energy_ws=(0, 0, _thousandths(tree.get("energy", "0")) * _WS_PER_WH, 0),
                balance_hao=remaining.hao,
                count=int(tree.get("purchase_count", 0)),
                prepaid=bool(tree.get("prepaid", not old)),
            )
            return Virtual645(spec, state, store=store, clock=clock)

        return MeterPlan(serial=serial, bus_address=address, build=build)

    return plan


def _water(model: str, given: Mapping[str, Any]) -> Planner:
    def plan(tree: dict[str, Any]) -> MeterPlan:
        serial = str(tree["serial"])
        address = _digits(tree.get("address", serial), 14)
        spec = Spec188(
            serial=serial,
            address=address,
            model=model,
            litres_an_hour=int(tree.get("litres_an_hour", 60)),
            **given,
        )

        def build(store: MeterStore, clock: Clock) -> BusMeter:
            state = State188(
                as_of=int(clock.now().timestamp()),
                flowed=_thousandths(tree.get("volume", "0")) * 1000 * ML,
                heat_ws=_thousandths(tree.get("energy", "0")) * _WS_PER_WH,
            )
            return Virtual188(spec, state, store=store, clock=clock)

        return MeterPlan(serial=serial, bus_address=address, build=build)

    return plan


def _digits(text: object, size: int) -> str:
    """`text` filled up with zeros. Raises ValueError when it is no address of `size` digits."""
    digits = str(text).rjust(size, "0")
    if len(digits) != size or not digits.isdecimal():
        raise ValueError(f"address: {text} is not {size} digits")
    return digits


def _thousandths(text: object) -> int:
    """kWh in Wh, m3 in litres. Money.parse reads any decimal text exactly, to four places."""
    return Money.parse(str(text)).hao // 10


PLANNERS: Mapping[str, Planner] = {
    **{model: _electric(model) for model in ("GENERIC-645-2007", "GENERIC-645-1997")},
    **{model: _water(model, given) for model, given in _WATER.items()},
}
