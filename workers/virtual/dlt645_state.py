"""What a virtual DL/T 645 meter knows, and how time changes it. Pure.

Time is in whole unix seconds, energy in watt-seconds by rate, money in hao; a price is hao per kWh,
so 3,600,000 watt-seconds x hao/kWh make one hao. The part below one hao is carried, never lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from backend.kernel.clock import CHINA

_PER_HAO = 3_600_000
_DAY_S = 86_400
_CHINA_S = 8 * 3600

# Identifier to data bytes (hexadecimal, as after - 33h) of what can be written. Prices 0.60 yuan;
# one year zone from 1 January with day table 1: valley from 0:00, flat 7:00, peak 17:00, valley 22:00.
FACTORY: Mapping[str, str] = {
    "04000108": "0000000000",
    "04000201": "02",
    "04000202": "02",
    "04000203": "08",
    "04000204": "04",
    "04001001": "00100000",
    "04001002": "00050000",
    "04001003": "00000000",
    "04001004": "99999999",
    **{f"04050{s}0{n}": "00600000" for s in (1, 2) for n in (1, 2, 3, 4)},
    "04010000": "010101" * 2,
    "04010001": "040000" + "030007" + "020017" + "040022" * 5,
    "04010002": "040000" * 8,
}


@dataclass(frozen=True, slots=True)
class State645:
    """The whole memory. `clock_s`: how far its clock is ahead; `settings`: see FACTORY; `allowed`: it
    waits for its key to be pressed; `customer`: the number it was opened with, "" before."""

    as_of: int
    energy_ws: tuple[int, int, int, int]
    balance_hao: int = 0
    charge_rest: int = 0
    count: int = 0
    customer: str = ""
    tripped: bool = False
    allowed: bool = False
    kept: bool = False
    clock_s: int = 0
    prepaid: bool = True
    cover_opens: int = 0
    settings: Mapping[str, str] = field(default_factory=lambda: dict(FACTORY))

    @property
    def closed(self) -> bool:
        """The relay: keep-power rules, then an order, then the money."""
        if self.kept:
            return True
        return not self.tripped and (not self.prepaid or self.balance_hao > -self.limit_hao)

    @property
    def limit_hao(self) -> int:
        """How far it lets one run into debt."""
        return _bcd(self.settings["04001003"]) * 100

    def local(self, at: int) -> datetime:
        """What its clock shows at unix second `at`."""
        return datetime.fromtimestamp(at + self.clock_s, UTC).astimezone(CHINA)


def advance(state: State645, power_w: int, until: int) -> State645:
    """The state at unix second `until`, drawing `power_w` while the relay is closed."""
    while state.as_of < until:
        state = _switch_prices(state)
        end = min(until, _next_change(state))
        state = _draw(state, power_w, end) if state.closed else replace(state, as_of=end)
    return _switch_prices(state)


def rate_now(state: State645) -> int:
    """The rate (0 to 3) that holds at `as_of`, by day table 1."""
    return _slots(state)[_slot_index(state)][1]  # before the first slot the last one holds


def _draw(state: State645, power_w: int, end: int) -> State645:
    rate = rate_now(state)
    price = _bcd(state.settings[f"0405010{rate + 1}"])
    energy = power_w * (end - state.as_of)
    if state.prepaid and not state.kept and price > 0:
        affordable = (state.balance_hao + state.limit_hao) * _PER_HAO - state.charge_rest
        energy = min(energy, -(-affordable // price))
    hao, rest = divmod(state.charge_rest + energy * price, _PER_HAO)
    ws = list(state.energy_ws)
    ws[rate] += energy
    return replace(
        state,
        as_of=end,
        energy_ws=(ws[0], ws[1], ws[2], ws[3]),
        balance_hao=state.balance_hao - (hao if state.prepaid else 0),
        charge_rest=rest if state.prepaid else 0,
    )


def _switch_prices(state: State645) -> State645:
    """When the moment has come the two price sets change places."""
    moment = bytes.fromhex(state.settings["04000108"])
    if not any(moment) or _moment(moment) > state.local(state.as_of):
        return state
    settings = {**state.settings, "04000108": bytes(5).hex()}
    for n in (1, 2, 3, 4):
        settings[f"0405010{n}"] = state.settings[f"0405020{n}"]
        settings[f"0405020{n}"] = state.settings[f"0405010{n}"]
    return replace(state, settings=settings)


def _next_change(state: State645) -> int:
    """The next second at which another rate, or another set of prices, may hold."""
    second = (state.as_of + state.clock_s + _CHINA_S) % _DAY_S
    starts = [60 * minute for minute, _ in _slots(state) if 60 * minute > second]
    end = state.as_of - second + (min(starts) if starts else _DAY_S)
    moment = bytes.fromhex(state.settings["04000108"])
    if any(moment):
        wait = _moment(moment) - state.local(state.as_of)
        end = min(end, state.as_of + max(1, wait // timedelta(seconds=1)))
    return end


def _slots(state: State645) -> list[tuple[int, int]]:
    data = bytes.fromhex(state.settings["04010001"])
    return [
        (60 * _pair(data[at + 2]) + _pair(data[at + 1]), _pair(data[at]) - 1)
        for at in range(0, len(data), 3)
    ]


def _slot_index(state: State645) -> int:
    minute = (state.as_of + state.clock_s + _CHINA_S) % _DAY_S // 60
    begun = [index for index, (start, _) in enumerate(_slots(state)) if start <= minute]
    return begun[-1] if begun else -1


def _moment(data: bytes) -> datetime:
    minute, hour, day, month, year = map(_pair, data)
    return datetime(2000 + year, month, day, hour, minute, tzinfo=CHINA)


def _pair(byte: int) -> int:
    return 10 * (byte >> 4) + (byte & 15)


def _bcd(data: str) -> int:
    return int(bytes.fromhex(data)[::-1].hex())
