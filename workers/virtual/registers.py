"""The register map of a virtual DDSY1352-NK (reference/meter-protocols.md sections 5.1 to 5.3).

Registers inside the known blocks that are not modelled read as zero; others do not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from backend.kernel.clock import CHINA

from .load import SLOT_S
from .state import MeterSpec, MeterState

KNOWN = (range(0x0000, 0x0063), range(0x0200, 0x0230))
FORCED_CONTROL = 0x0057
SALE = 0x0100

_TYPE_DDSY1352 = 7
_WS_PER_UNIT = 36_000  # 0.01 kWh
_VOLTAGE_DV = 2200  # 220.0 V
_POWER_FACTOR = 980


def exists(address: int, count: int) -> bool:
    """Whether all of the registers lie in one known block."""
    return any(address in block and address + count - 1 in block for block in KNOWN)


def read(spec: MeterSpec, state: MeterState, *, address: int, count: int) -> list[int]:
    """`count` register values from `address` on, as the meter shows `state`."""
    image = _image(spec, state)
    return [image.get(register, 0) for register in range(address, address + count)]


def _image(spec: MeterSpec, state: MeterState) -> dict[int, int]:
    power = spec.load.power_w(state.as_of // SLOT_S) if state.closed else 0
    # I = P / (U x PF): W -> 0.01 A with U in 0.1 V and PF in 0.001.
    current = power * 1_000_000 // (_VOLTAGE_DV * _POWER_FACTOR)
    total = sum(state.energy_ws) // _WS_PER_UNIT
    bands = [energy // _WS_PER_UNIT for energy in state.energy_ws]
    image = {
        0x000B: _VOLTAGE_DV,
        0x000C: current,
        0x000D: power & 0xFFFF,
        0x0010: _POWER_FACTOR,
        0x0037: 1,
        0x0038: 1,
        0x004E: state.purchase_count,
        FORCED_CONTROL: int(state.forced),
        FORCED_CONTROL + 1: int(state.forced_open),
        0x0200: _TYPE_DDSY1352,
        0x0201: _VOLTAGE_DV,
        0x0204: current,
        0x0207: power & 0xFFFF,
        0x020A: power & 0xFFFF,
        0x020F: _POWER_FACTOR,
        0x0212: _POWER_FACTOR,
        0x0213: 1,
        0x0214: 1,
        0x0221: state.purchase_count,
        0x0224: _status(spec, state),
    }
    _put_u32(image, 0x0000, [total, *bands])
    _put_u32(image, 0x0046, [spec.alarm1_fen, spec.alarm2_fen])
    _put_u32(image, 0x004F, [state.remaining_fen])
    _put_u32(image, 0x0059, spec.prices)
    _put_u32(image, 0x0215, [total, *bands, state.remaining_fen])
    _put_clock(image, state.as_of)
    return image


def _put_u32(image: dict[int, int], address: int, values: Sequence[int]) -> None:
    for offset, value in enumerate(values):
        image[address + 2 * offset] = value >> 16 & 0xFFFF
        image[address + 2 * offset + 1] = value & 0xFFFF


def _put_clock(image: dict[int, int], as_of: int) -> None:
    now = datetime.fromtimestamp(as_of, UTC).astimezone(CHINA)
    # Sunday is 1, as in the official sample of section 6.1.
    data = bytes([now.year % 100, now.month, now.day, now.isoweekday() % 7 + 1])
    data += bytes([now.hour, now.minute, now.second, 0])
    for offset in range(4):
        image[0x0228 + offset] = int.from_bytes(data[2 * offset : 2 * offset + 2], "big")


def _status(spec: MeterSpec, state: MeterState) -> int:
    fee_control_on = 0x08
    low = fee_control_on | 0x01
    low |= 0x20 if state.arrears else 0
    low |= 0x40 if state.remaining_fen <= spec.alarm1_fen else 0
    low |= 0x80 if state.remaining_fen <= spec.alarm2_fen else 0
    return (0x2000 if state.closed else 0) | low
