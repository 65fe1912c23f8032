"""Numbers, dates, tables and status words of 645: exact, and refused when they are none."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.errors import InvalidInput
from workers.protocols import dlt645_requests as requests
from workers.protocols.dlt645 import Edition, decode_frame
from workers.protocols.dlt645_answers import LongRead, answer, ask
from workers.protocols.dlt645_data import decode_data, decode_values, encode_data, encode_values
from workers.protocols.dlt645_frame import Frame, parse
from workers.protocols.dlt645_functions import BAUD_CODES, Action
from workers.protocols.dlt645_items import ITEMS_1997, ITEMS_2007, Kind, Row, layout
from workers.protocols.dlt645_requests import Password
from workers.protocols.errors import (
    BadValue,
    LongAnswer,
    MeterRefused,
    ShortAnswer,
    WrongItem,
    WrongUnit,
)

ADDRESS = "151230011061"
LOCAL = datetime(2026, 11, 22, 9, 10, 11, tzinfo=UTC)
PASSWORD = Password(2, bytes(3))


def _first_di(row: Row) -> str:
    number = f"{1:0{row.width}X}" if row.width else ""
    return row.di.replace("n" * row.width, number).replace("dd", "00") if row.width else row.di


_NUMBERS: list[tuple[Edition, Row]] = [
    *(("2007", row) for row in ITEMS_2007 if row.kind is Kind.NUMBER),
    *(("1997", row) for row in ITEMS_1997 if row.kind is Kind.NUMBER),
]


def test_every_row_of_the_table_is_found_by_its_identifier_and_only_that_row() -> None:
    assert len(ITEMS_2007) + len(ITEMS_1997) >= 60
    tables: list[tuple[Edition, tuple[Row, ...]]] = [("2007", ITEMS_2007), ("1997", ITEMS_1997)]
    for edition, rows in tables:
        for row in rows:
            found = layout(_first_di(row), edition=edition)
            assert found is not None
            assert found.row is row


@given(row=st.sampled_from(_NUMBERS), data=st.data())
def test_any_number_an_item_can_hold_comes_back_with_every_digit(
    row: tuple[Edition, Row], data: st.DataObject
) -> None:
    edition, item = row
    digits = 10 ** (2 * item.length)
    most = digits - 1 if not item.signed else 8 * digits // 10 - 1
    number = data.draw(st.integers(-most if item.signed else 0, most))
    text = str(Decimal(number).scaleb(-item.decimals).quantize(Decimal(1).scaleb(-item.decimals)))
    di = _first_di(item)
    raw = encode_values([text], di=di, edition=edition)
    assert len(raw) == item.length
    (value,) = decode_values(raw, di=di, edition=edition)
    assert (value.value, value.unit) == (text, item.unit)


@given(
    row=st.sampled_from(_NUMBERS), at=st.integers(0, 31), bad=st.sampled_from([0x0A, 0x1F, 0xEB])
)
def test_a_byte_that_is_no_bcd_is_refused_wherever_it_stands(
    row: tuple[Edition, Row], at: int, bad: int
) -> None:
    edition, item = row
    raw = bytearray(item.length)
    raw[at % item.length] = bad
    with pytest.raises(BadValue, match="are not BCD"):
        decode_values(bytes(raw), di=_first_di(item), edition=edition)


@given(row=st.sampled_from(_NUMBERS))
def test_all_ff_is_no_data_and_one_ff_is_an_error(row: tuple[Edition, Row]) -> None:
    edition, item = row
    di = _first_di(item)
    (value,) = decode_values(b"\xff" * item.length, di=di, edition=edition)
    assert value.value is None
    assert encode_values([None], di=di, edition=edition) == b"\xff" * item.length
    if item.length > 1:
        with pytest.raises(BadValue):
            decode_values(b"\xff" + bytes(item.length - 1), di=di, edition=edition)


def test_the_top_bit_is_a_sign_only_where_the_table_says_so() -> None:
    def shown(di: str, raw: str) -> object:
        return [v.value for v in decode_values(bytes.fromhex(raw), di=di, edition="2007")]

    assert shown("02030000", "31 43 80") == ["-0.4331"]
    assert shown("00000000", "26 00 00 80") == ["-0.26"]
    assert shown("00010000", "26 00 00 80") == ["800000.26"]
    assert shown("02010100", "01 80") == ["800.1"]
    assert shown("02060000", "00 80") == ["0.000"]


def test_a_number_that_does_not_fit_is_refused_and_never_rounded() -> None:
    for di, text in (
        ("00900200", "1.005"),
        ("00900200", "1000000.00"),
        ("00900200", "-1"),
        ("02020100", "800"),
        ("00900200", "1e3"),
        ("00900200", "٣"),
        ("00900200", ""),
    ):
        with pytest.raises(InvalidInput):
            encode_values([text], di=di)
    assert encode_values(["12.3"], di="00900200") == bytes.fromhex("30 12 00 00")


def test_too_few_and_too_many_bytes_are_told_apart() -> None:
    for di, size in (("00900200", 4), ("04000101", 4), ("04000503", 2), ("05060001", 5)):
        with pytest.raises(ShortAnswer):
            decode_data(bytes(size - 1), di=di, edition="2007")
        with pytest.raises(LongAnswer):
            decode_data(bytes(size * 2), di=di, edition="2007")
    with pytest.raises(ShortAnswer):
        decode_data(bytes(9), di="0001FF00", edition="2007")
    with pytest.raises(LongAnswer):
        decode_data(bytes(8), di="0201FF00", edition="2007")


@pytest.mark.parametrize(
    ("di", "raw", "fields"),
    [
        ("04000101", "00 22 11 26", {"date": "2026-11-22", "weekday": 0}),
        ("04000101", "FF FF FF FF", {"date": None, "weekday": None, "meaning": "absent (all FF)"}),
        ("04000102", "59 58 23", {"time": "23:58:59"}),
        (
            "0400010C",
            "11 10 09 00 22 11 26",
            {"date": "2026-11-22", "weekday": 0, "time": "09:10:11"},
        ),
        ("05060001", "10 09 22 11 26", {"time": "2026-11-22 09:10"}),
        ("05060001", "00 00 00 00 00", {"time": None, "meaning": "never (all 00)"}),
        (
            "04010000",
            "02 01 03 01 28 12",
            {"zones": [{"from": "03-01", "table": 2}, {"from": "12-28", "table": 1}]},
        ),
        (
            "04010001",
            "03 00 08 01 30 22",
            {"slots": [{"from": "08:00", "rate": 3}, {"from": "22:30", "rate": 1}]},
        ),
        (
            "04000503",
            "50 00",
            {"status_word_3": "0050", "relay": "off (open)", "relay_command_state": "off"},
        ),
        (
            "04000503",
            "40 02",
            {"status_word_3": "0240", "relay": "on (closed)", "relay_command_state": "off"},
        ),
        ("04000501", "04 00", {"status_word_1": "0004"}),
        ("DEADBEEF", "00 0F", {"data": "00 0F"}),
    ],
)
def test_dates_tables_and_status_words_are_read_and_made(
    di: str, raw: str, fields: dict[str, object]
) -> None:
    data = bytes.fromhex(raw)
    assert decode_data(data, di=di, edition="2007") == fields
    assert encode_data(fields, di=di) == data


def test_the_asset_number_is_text_and_the_status_block_has_seven_words() -> None:
    text = "SHUIDIAN-0001".rjust(32, "0")
    assert decode_data(text[::-1].encode(), di="04000403", edition="2007") == {"text": text}
    words = decode_data(bytes(range(14)), di="040005FF", edition="2007")
    assert [words[f"status_word_{n}"] for n in (1, 7)] == ["0100", "0D0C"]
    assert encode_data(words, di="040005FF") == bytes(range(14))


@pytest.mark.parametrize(
    ("di", "raw"),
    [
        ("04000101", "01 31 02 26"),
        ("04000101", "01 00 00 00"),
        ("04000102", "60 00 00"),
        ("04000102", "00 00 24"),
        ("05060001", "00 0A 01 01 26"),
        ("04010001", "03 0F 08"),
        ("04000403", "FF" * 32),
    ],
)
def test_an_impossible_date_time_or_text_is_refused(di: str, raw: str) -> None:
    with pytest.raises(BadValue):
        decode_data(bytes.fromhex(raw), di=di, edition="2007")


def test_settlement_days_and_rates_have_their_names() -> None:
    (value,) = decode_values(bytes(4), di="00010103", edition="2007")
    assert value.name == "forward active energy rate 1, settlement day 3 ago"
    names = [v.name for v in decode_values(bytes(9), di="0203FF00", edition="2007")]
    assert names == ["active power total", "active power A", "active power B"]
    assert layout("00014000", edition="2007") is None
    assert layout("02010400", edition="2007") is None
    freeze = decode_values(bytes(8), di="05060101", edition="2007")
    assert freeze[1].name == "last daily freeze, forward active energy rate 1"


def test_a_1997_block_may_hold_separators_and_left_out_items() -> None:
    raw = bytes.fromhex("00 01 00 00 AA 00 02 00 00 AA AA 00 03 00 00 AA")
    values = decode_values(raw, di="901F", edition="1997")
    assert [v.value for v in values] == ["1.00", "2.00", None, "3.00"]
    plain = bytes.fromhex("00 01 00 00 00 02 00 00")
    assert [v.value for v in decode_values(plain, di="901F", edition="1997")] == ["1.00", "2.00"]


def _decoded(request: bytes, edition: Edition = "2007") -> dict[str, object]:
    return decode_frame(request, edition=edition)


def test_every_order_says_what_it_orders() -> None:
    freeze = requests.freeze(address=ADDRESS, day=1, hour=0, minute=0).request
    assert _decoded(freeze)["freeze_at"] == "99-01 00:00"
    now = requests.broadcast_freeze()
    assert (_decoded(now)["freeze_at"], _decoded(now)["address"]) == ("99-99 99:99", "9" * 12)
    given = requests.write_address(new_address=ADDRESS).request
    assert _decoded(given)["new_address"] == ADDRESS
    records = requests.read(address=ADDRESS, di="06000001", blocks=12, since=LOCAL).request
    said = _decoded(records)
    assert (said["blocks"], said["since"]) == (12, "2026-11-22 09:10")
    secure = requests.security(
        address=ADDRESS, di="070102FF", operator=bytes(4), payload=bytes(22)
    ).request
    assert parse(secure).data[:4] == bytes.fromhex("FF020107")
    assert len(parse(secure).data) == 0x1E
    for wrong in ({"month": 13, "day": 1, "hour": 0, "minute": 0}, {"day": 1}):
        with pytest.raises(InvalidInput):
            requests.freeze(address=ADDRESS, **wrong)


@pytest.mark.parametrize("action", list(Action))
def test_a_relay_order_carries_its_end_and_its_name(action: Action) -> None:
    question = requests.remote_control(
        address=ADDRESS, action=action, valid_until=LOCAL, password=PASSWORD
    )
    said = _decoded(question.request)
    assert said["action"] == action.name.lower().replace("_", "-")
    assert (said["n1"], said["valid_until"]) == (f"{action:02X}", "2026-11-22 09:10:11")
    confirmed = Frame(ADDRESS, 0x9C, b"").encode()
    assert question.expected.take(confirmed) == (confirmed, b"")


def test_each_speed_has_its_own_single_bit() -> None:
    assert BAUD_CODES == {600: 2, 1200: 4, 2400: 8, 4800: 16, 9600: 32, 19200: 64}
    for baud, code in BAUD_CODES.items():
        request = requests.change_baud(address=ADDRESS, baud=baud).request
        assert parse(request).data == bytes([code])
        assert _decoded(request)["baud"] == baud
    for wrong in (300, 16, 115200):
        with pytest.raises(InvalidInput):
            requests.change_baud(address=ADDRESS, baud=wrong)


def test_a_security_refusal_of_two_bytes_is_told_by_name() -> None:
    said = _decoded(Frame(ADDRESS, 0xC3, bytes([0x22, 0x00])).encode())
    assert said["error_code"] == "0022"
    assert said["error_bits"] == ["recharge repeated", "purchase count error"]


def test_1997_reads_writes_and_long_answers_work_the_old_way() -> None:
    wrote = requests.write(
        address=ADDRESS, di="C011", data=bytes(3), password=PASSWORD, edition="1997"
    )
    said = _decoded(wrote.request, "1997")
    assert (said["function"], said["di"], said["time"]) == ("write(1997)", "C011", "00:00:00")
    ok = Frame(ADDRESS, 0x84, b"").encode()
    assert wrote.expected.take(ok) == (ok, b"")
    asked = parse(requests.read(address=ADDRESS, di="901F", edition="1997").request)
    part = bytes.fromhex("00 01 00 00")
    first = answer(asked, data=asked.data + part, more=True).encode()
    assert ask(asked, edition="1997").expected.take(first) == (first, b"")
    begun = LongRead.of(first, edition="1997")
    question = begun.next_question()
    assert _decoded(question.request, "1997")["function"] == "read-follow-up(1997)"
    last = answer(parse(question.request), data=asked.data + part).encode()
    assert begun.add(last).data == part + part
    with pytest.raises(MeterRefused, match="no such data"):
        LongRead.of(Frame(ADDRESS, 0xC1, b"\x02").encode(), edition="1997")


def test_a_part_of_another_meter_or_item_does_not_enter_a_long_answer() -> None:
    asked = parse(requests.read(address=ADDRESS, di="0001FF00").request)
    begun = LongRead.of(answer(asked, data=asked.data + bytes(4), more=True).encode())
    for address, di, wrong in (
        ("151230011062", "0001FF00", WrongUnit),
        (ADDRESS, "0002FF00", WrongItem),
    ):
        data = bytes.fromhex(di)[::-1] + bytes(4) + b"\x01"
        with pytest.raises(wrong):
            begun.add(Frame(address, 0x92, data).encode())
    assert begun.data == bytes(4)
