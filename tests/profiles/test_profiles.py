"""Profiles: the shipped ones are right, and a wrong one says which key is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.kernel.errors import NotFound
from backend.kernel.money import Money
from workers.drivers.modbus import decode_snapshot
from workers.drivers.ports import Relay
from workers.profiles.loader import (
    PROFILE_DIR,
    ProfileError,
    check_profile,
    load_profile,
    profile_of,
    shipped_profiles,
)
from workers.profiles.modbus_map import ModbusMap

_DDSY = PROFILE_DIR / "ddsy1352-nk.toml"


@pytest.mark.parametrize("path", sorted(PROFILE_DIR.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_profile_is_right(path: Path) -> None:
    assert check_profile(path) == []
    assert load_profile(path).model in shipped_profiles()


def test_a_model_without_profile_is_told_by_name() -> None:
    with pytest.raises(NotFound, match="XYZ-1"):
        profile_of("XYZ-1")


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('word_order = "big"', 'word_order = "middle"', "word_order: 'middle' is not one of"),
        ("phases = 1", "phases = 2", "phases: 2 is not one of"),
        ("address = 0x0057", "adress = 0x0057", "switch: Additional properties"),
        ("bit = 5", "bit = 16", "flags[2].bit: 16 is greater than"),
        ("multiply = 100", "multiply = 0.1", "fields[0].multiply: 0.1 is not of type"),
        ("register = 0x0215", "register = 0x0230", "fields[3].register: 0x0230 lies outside"),
        ('target = "current_ma"', 'target = "voltage_mv"', "fields[1].target: voltage_mv is"),
        ('block = "poll"', 'block = "pole"', "fields[0].block: no block is named pole"),
        ('maker = "Acrel 安科瑞"', "", "(file): 'maker' is a required property"),
        ("phases = 1", "phases = ", "(file): not TOML"),
    ],
)
def test_a_wrong_profile_names_the_key(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    text = _DDSY.read_text("utf-8")
    assert right in text
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace(right, wrong, 1), "utf-8")
    assert any(fault.startswith(message) for fault in check_profile(path)), check_profile(path)
    with pytest.raises(ProfileError):
        load_profile(path)


def test_a_sold_meter_without_a_wallet_to_read_back_is_refused(tmp_path: Path) -> None:
    text = _DDSY.read_text("utf-8")
    start = text.index("[wallet]")
    path = tmp_path / "blind.toml"
    path.write_text(text[:start] + text[text.index("[sale]") :], "utf-8")
    assert check_profile(path) == [
        "sale: a meter that is sold to needs [wallet], or no sale can be read back"
    ]


def _ddsy() -> ModbusMap:
    layout = profile_of("DDSY1352-NK").map
    assert isinstance(layout, ModbusMap)
    return layout


def _poll(**registers: int) -> bytes:
    image = [0] * 48
    for name, value in registers.items():
        image[int(name[1:], 16) - 0x0200] = value
    return b"".join(value.to_bytes(2, "big") for value in image)


def test_the_prepaid_poll_means_what_the_register_table_says() -> None:
    snapshot = decode_snapshot(
        _ddsy(),
        {
            "poll": _poll(
                r0200=7, r0201=2203, r0204=512, r020A=1128, r0215=1, r0216=0x2345,
                r0218=11, r021A=22, r021C=33, r021E=44, r0220=12345, r0221=17,
                r0224=0x2000 | 0x40, r0228=(26 << 8) | 11, r0229=(22 << 8) | 1,
                r022A=(19 << 8) | 30, r022B=(5 << 8),
            )
        },
    )  # fmt: skip
    assert snapshot.total == 0x12345 * 10
    assert dict(snapshot.bands) == {"spike": 110, "peak": 220, "flat": 330, "valley": 440}
    assert snapshot.remaining == Money.parse("123.45")
    assert snapshot.purchase_count == 17
    assert (snapshot.voltage_mv, snapshot.current_ma, snapshot.power_w) == (220300, 5120, 1128)
    assert snapshot.relay is Relay.CLOSED
    assert (snapshot.flags.alarm1, snapshot.flags.arrears) == (True, False)
    assert snapshot.meter_clock == datetime(2026, 11, 22, 11, 30, 5, tzinfo=UTC)
    assert len(snapshot.raw) == 96


def test_an_overdraft_reads_as_a_debt_and_a_never_set_clock_as_none() -> None:
    snapshot = decode_snapshot(
        _ddsy(),
        {"poll": _poll(r0200=7, r021F=0xFFFF, r0220=0xFF38, r0224=0x20, r020A=0xFFFF)},
    )
    assert snapshot.remaining == Money.parse("-2.00")
    assert snapshot.power_w == -1
    assert snapshot.relay is Relay.OPEN
    assert snapshot.flags.arrears
    assert snapshot.meter_clock is None
