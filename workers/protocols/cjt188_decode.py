"""A CJ/T 188 frame as a plain dictionary of texts, in the spelling of tests/vectors/meter-vectors.json."""

from __future__ import annotations

from .cjt188 import READ, READ_ADDRESS, WRITE, Cjt188Frame, check_answer, parse_frame
from .cjt188_values import (
    HEAT_SIZE,
    PURCHASE_DATA,
    READING,
    WATER_SIZE,
    WRITE_ADDRESS,
    WRITE_PURCHASE,
    WRITE_VALVE,
    Dialect,
    HeatReading,
    Measured,
    ValveOrder,
    WaterReading,
    decimal,
    heat_reading,
    identifier,
    purchase_data,
    water_reading,
)
from .errors import WrongFunction

_TYPES = {
    0x10: "cold water", 0x11: "hot water", 0x12: "drinking water", 0x13: "reclaimed water",
    0x20: "heat", 0x21: "cold", 0x22: "heat+cold", 0x25: "heat+cold",
    0x30: "gas", 0x40: "electricity", 0xAA: "any",
}  # fmt: skip
_ORDERS = {
    ValveOrder.READ_STATE: "read state",
    ValveOrder.OPEN: "open (forced)",
    ValveOrder.CLOSE: "close (forced)",
    ValveOrder.FREE_OPEN: "free open (vendor)",
    ValveOrder.FREE_CLOSE: "free close (vendor)",
}
_ANSWER_TO = 0x80
_PURCHASE_SIZE, _WRITTEN_PURCHASE_SIZE = 18, 8
_Fields = dict[str, object]


def decode_frame(
    raw: bytes, *, request: bytes | None = None, dialect: Dialect | None = None
) -> _Fields:
    """The fields of one frame; with the frame of its `request` an answer is also held against it.

    Raises FrameError (its kinds say what is wrong: sum, length, value, other meter, other question).
    """
    frame = parse_frame(raw)
    if request is not None:
        asked = parse_frame(request)
        if asked.is_answer:
            raise WrongFunction(f"control {asked.control:02X} is no request")
        check_answer(request=asked, answer=frame)
    fields: _Fields = {
        "type": f"{frame.kind:02X}",
        "type_name": _TYPES.get(frame.kind, "custom"),
        "address": frame.address,
        "control": f"{frame.control:02X}",
    }
    if frame.is_answer:
        return fields | {"error": frame.is_error} | _answer(frame, dialect or Dialect())
    return fields | _head(frame, with_identifier=True) | _request_value(frame)


def _head(frame: Cjt188Frame, *, with_identifier: bool) -> _Fields:
    fields: _Fields = {}
    if len(frame.data) >= 2:
        fields["data_id_on_wire"] = _hex(frame.data[:2])
        if with_identifier:
            fields["data_id"] = f"{identifier(frame.data):04X}"
    if len(frame.data) >= 3:
        fields["ser"] = f"{frame.data[2]:02X}"
    elif len(frame.data) == 1:
        fields["data"] = _hex(frame.data)
    return fields | {"wake_up_bytes": frame.wake_up}


def _request_value(frame: Cjt188Frame) -> _Fields:
    value = frame.data[3:]
    if not value:
        return {}
    di = identifier(frame.data)
    if frame.control == WRITE and di == WRITE_VALVE and len(value) == 1:
        known = value[0] in _ORDERS
        return {"valve": _ORDERS[ValveOrder(value[0])] if known else f"unknown ({value[0]:02X})"}
    if frame.control == WRITE and di == WRITE_PURCHASE and len(value) == 5:
        return _written_purchase(value)
    if di == WRITE_ADDRESS and len(value) == 7:
        return {"new_address": value[::-1].hex().upper()}
    return {"data": _hex(value)}


def _answer(frame: Cjt188Frame, dialect: Dialect) -> _Fields:
    if frame.is_error:
        return _refusal(frame)
    head = _head(frame, with_identifier=False)
    if len(frame.data) <= 3:
        return head
    data, value = frame.data, frame.data[3:]
    asked = (frame.control & ~_ANSWER_TO, identifier(data))
    if asked == (READ, READING) and len(data) == WATER_SIZE:
        return head | _water(water_reading(data, dialect=dialect))
    if asked == (READ, READING) and len(data) == HEAT_SIZE:
        return head | _heat(heat_reading(data, dialect=dialect))
    if asked == (READ, PURCHASE_DATA) and len(data) == _PURCHASE_SIZE:
        bought = purchase_data(data)
        return head | {
            "purchase_sequence": bought.sequence,
            "last_purchase": bought.last,
            "total_purchase": bought.total,
            "remaining": bought.remaining,
            "status": _hex(bought.status),
        }
    if asked == (WRITE, WRITE_PURCHASE) and len(data) == _WRITTEN_PURCHASE_SIZE:
        return head | _written_purchase(value)
    if asked[0] == READ_ADDRESS and len(value) == 7:
        return head | {"read_address": value[::-1].hex().upper()}
    if asked[0] == WRITE and len(value) == 2:
        return head | {"status": _hex(value)}
    return head | {"data": _hex(value)}


def _refusal(frame: Cjt188Frame) -> _Fields:
    fields: _Fields = {"ser": f"{frame.data[0]:02X}"} if frame.data else {}
    fields |= {"wake_up_bytes": frame.wake_up}
    return fields | ({"status": _hex(frame.data[1:])} if len(frame.data) > 1 else {})


def _written_purchase(value: bytes) -> _Fields:
    return {"purchase_sequence": value[0], "amount": decimal(value[1:], places=2)}


def _water(reading: WaterReading) -> _Fields:
    return {
        "current_volume": _measured(reading.current),
        "settlement_volume": _measured(reading.settlement),
        "clock": reading.clock,
        "status": _hex(reading.status),
        "status_valve": reading.valve,
        "status_battery_low": reading.battery_low,
    }


def _heat(reading: HeatReading) -> _Fields:
    return {
        "energy_1": _measured(reading.energy_1),
        "energy_2": _measured(reading.energy_2),
        "power": _measured(reading.power),
        "flow": _measured(reading.flow),
        "volume": _measured(reading.volume),
        "supply_temp_C": reading.supply_temp_c,
        "return_temp_C": reading.return_temp_c,
        "working_hours": reading.working_hours,
        "clock": reading.clock,
        "status": _hex(reading.status),
    }


def _measured(amount: Measured) -> _Fields:
    fields: _Fields = {"value": amount.value, "unit": amount.unit}
    return fields if amount.value is not None else fields | {"meaning": "absent (all FF)"}


def _hex(raw: bytes) -> str:
    return raw.hex(" ").upper()
