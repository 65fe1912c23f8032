"""What a virtual DL/T 645 meter answers to a read: identifier to data bytes, from its state. Pure.

Written from the tables of reference/meter-protocols.md 1.9, 1.10 and 2, not from the product's own table,
so that a mistake there shows.
"""

from __future__ import annotations

from collections.abc import Sequence

from .dlt645_state import State645

_VOLTS = 220
_NO_PHASE = b"\xff"
_WS_PER_UNIT = 36_000  # 0.01 kWh
_PREPAID_BY_MONEY = 2 << 8
_BLOCK_END = b"\xaa"


def answer_2007(
    state: State645, di: str, *, address: str, power_w: int, phases: int, count_off: int
) -> bytes | None:
    """The data of item `di`, None when the meter has none."""
    group, part, rest = di[:4], di[4:6], di[6:]
    drawn = power_w if state.closed else 0
    if group in ("0000", "0001") and rest == "00":
        return _of(_energies(state), part)
    if group == "0002" and rest == "00":
        return _of([bytes(4)] * 5, part)
    if group in ("0201", "0202") and rest == "00":
        return _of(_by_phase(group, drawn, phases), part, first=1)
    if group == "0203" and rest == "00":
        each = [_bcd(drawn * 10 // phases, 3)] * phases + [_NO_PHASE * 3] * (3 - phases)
        return _of([_bcd(drawn * 10, 3), *each], part)
    if di.startswith(("040501", "040502")) and rest == "FF":
        return b"".join(bytes.fromhex(state.settings[f"{di[:6]}0{n}"]) for n in (1, 2, 3, 4))
    if di in state.settings:
        return bytes.fromhex(state.settings[di])
    shown = {
        "03300D00": _bcd(state.cover_opens, 3),
        "04000503": _status_3(state),
        "040005FF": bytes(4) + _status_3(state) + bytes(8),
        "04000401": bytes.fromhex(address)[::-1],
        "04000101": _date(state),
        "04000102": _time(state),
    }
    if state.prepaid:
        shown |= {
            "00900200": _bcd(max(0, state.balance_hao) // 100, 4),
            "00900201": _bcd(-(min(0, state.balance_hao) // 100), 4),
            "03330201": _bcd(state.count + count_off, 2),
        }
    return shown.get(di)


def answer_1997(state: State645, di: str, *, power_w: int) -> bytes | None:
    """The same for the older edition; its energy block ends with AA."""
    drawn = power_w if state.closed else 0
    if di == "901F":
        return b"".join(_energies(state)) + _BLOCK_END
    if di[:3] == "901":
        return _of(_energies(state), f"0{di[3]}")
    return {
        "B611": _bcd(_VOLTS, 2),
        "B621": _bcd(drawn * 100 // _VOLTS, 2),
        "B630": _bcd(drawn * 10, 3),
        "C010": _date(state),
        "C011": _time(state),
    }.get(di)


def _of(parts: Sequence[bytes], part: str, *, first: int = 0) -> bytes | None:
    if part == "FF":
        return b"".join(parts)
    index = int(part, 16) - first
    return parts[index] if 0 <= index < len(parts) else None


def _energies(state: State645) -> list[bytes]:
    units = [energy // _WS_PER_UNIT for energy in state.energy_ws]
    return [_bcd(value, 4) for value in (sum(state.energy_ws) // _WS_PER_UNIT, *units)]


def _by_phase(group: str, drawn: int, phases: int) -> list[bytes]:
    voltage = group == "0201"
    milliamperes = drawn * 1000 // _VOLTS // phases
    one = _bcd(_VOLTS * 10, 2) if voltage else _bcd(milliamperes, 3)
    return [one] * phases + [_NO_PHASE * len(one)] * (3 - phases)


def _status_3(state: State645) -> bytes:
    word = (not state.closed) << 4 | state.tripped << 6
    word |= _PREPAID_BY_MONEY if state.prepaid else 0
    return word.to_bytes(2, "little")


def _date(state: State645) -> bytes:
    now = state.local(state.as_of)
    return bytes.fromhex(f"{now.isoweekday() % 7:02d}{now:%d%m%y}")


def _time(state: State645) -> bytes:
    return bytes.fromhex(f"{state.local(state.as_of):%S%M%H}")


def _bcd(value: int, size: int) -> bytes:
    return bytes.fromhex(f"{value:0{2 * size}d}"[-2 * size :])[::-1]
