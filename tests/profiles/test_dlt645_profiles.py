"""DL/T 645 profiles: the shipped ones say what they should, a wrong one says which key is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.profiles.dlt645_map import Dlt645Map
from workers.profiles.loader import (
    PROFILE_DIR,
    ProfileError,
    check_profile,
    load_profile,
    profile_of,
)

_ESAM = PROFILE_DIR / "generic-645-2007-esam.toml"
_OLD = PROFILE_DIR / "generic-645-1997.toml"


def test_only_the_meter_with_a_way_to_be_sold_to_holds_money() -> None:
    said = {
        model: (profile_of(model).holds_money, profile_of(model).switches)
        for model in ("GENERIC-645-2007-ESAM", "GENERIC-645-2007", "GENERIC-645-1997")
    }
    assert said == {
        "GENERIC-645-2007-ESAM": (True, True),
        "GENERIC-645-2007": (False, True),
        "GENERIC-645-1997": (False, False),
    }


def test_nothing_is_claimed_that_was_not_tried_on_a_meter() -> None:
    for model in ("GENERIC-645-2007-ESAM", "GENERIC-645-2007", "GENERIC-645-1997"):
        assert profile_of(model).evidence == "unverified"


def test_a_block_gives_the_total_and_the_bands_in_one_exchange() -> None:
    layout = profile_of("GENERIC-645-2007").map
    assert isinstance(layout, Dlt645Map)
    assert layout.items[0].di == "0001FF00"
    assert layout.items[0].targets[:2] == ("total", "bands.spike")


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('di = "0001FF00"', 'di = "0001ff00"', "items[0].di: '0001ff00' does not match"),
        ('di = "0001FF00"', 'di = "0A01FF00"', "items[0].di: 0A01FF00 is not in the table"),
        ('di = "0001FF00"', 'di = "04000503"', "items[0].di: 04000503 is no number"),
        ('di = "0001FF00"', 'di = "00010000"', "items[0].targets: 5 targets, 00010000 has 1"),
        ('di = "0202FF00"', 'di = "0203FF00"', "items[2].targets: current_ma is no number of kW"),
        ('["voltage_mv"]', '["voltage_v"]', "items[1].targets[0]: 'voltage_v' is not one of"),
        ('["current_ma"]', '["voltage_mv"]', "items[2].targets: voltage_mv is there twice"),
        ('["total", ', '["", ', "items: total is missing"),
        (
            "optional = false",
            "optional = true",
            "items[0].optional: a meter without total is no meter",
        ),
        ("open_bit = 4", "open_bit = 16", "status.open_bit: 16 is greater than"),
        ('di = "04000503"', 'di = "00010000"', "status.di: 00010000 is no status"),
        ('["04000101", "04000102"]', '["04000102", "04000101"]', "clock.items: one item of date"),
        ('remaining = "00900200"', 'remaining = "00900100"', "money.remaining: 00900100 is no"),
        ('purchase_count = "03330201"', 'purchase_count = "03330601"', "money.purchase_count:"),
        ('way = "esam"', 'way = "plain"', "credit.way: 'plain' is not one of"),
        ('"release"]', '"open"]', "switch.states[4]: 'open' is not one of"),
        ("valid_minutes = 5", "valid_minutes = 0", "switch.valid_minutes: 0 is less than"),
        ("level = 2\nvalid", "level = 98\nvalid", "switch.level: 98 is greater than"),
        ('alarm1 = "04001001"', 'alarm1 = "04000201"', "thresholds.alarm1: 04000201 is no number"),
        ('spare = "040502"\n', "", "prices: spare and switch_moment go together"),
        ("lead_minutes = 2\n", "", "prices.lead_minutes: a switch moment lies"),
        ('current = "040501"', 'current = "040503"', "prices.current: 040503FF is no number"),
        ('switch_moment = "04000108"', 'switch_moment = "04000102"', "prices.switch_moment:"),
        ('zones = "04010000"', 'zones = "04010001"', "calendar.zones: 04010001 is no zones"),
        ('tables = "040100"', 'tables = "040500"', "calendar.tables: 04050001 is no slots"),
        ('slot_count = "04000203"\n', "", "calendar: 'slot_count' is a required property"),
        ('rates = ["spike", "peak", "flat", "valley"]\n', "", "prices: the bands of the rates"),
        ('"flat", "valley"]\n', '"flat", "flat"]\n', "rates: "),
        ("level = 4\nfactory", "level = 2\nfactory", "passwords[1].level: 2 is there twice"),
        ('factory = "000000"', 'factory = "0000"', "passwords[0].factory: '0000' does not match"),
        ("wake_up = 4", "wake_up = 41", "wake_up: 41 is greater than"),
        ("phases = 1", "", "(file): 'phases' is a required property"),
        ('protocol = "dlt645-2007"', 'protocol = "dlt645-2017"', "protocol: 'dlt645-2017' is not"),
    ],
)
def test_a_wrong_profile_names_the_key(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    faults = _check(_ESAM, tmp_path, right, wrong)
    assert any(fault.startswith(message) for fault in faults), faults


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('di = "901F"', 'di = "0001FF00"', "items[0].di: '0001FF00' does not match"),
        ('di = "901F"', 'di = "801F"', "items[0].di: 801F is not in the table of DL/T 645-1997"),
        (
            "[clock]",
            '[switch]\nstates = ["trip"]\nlevel = 2\nvalid_minutes = 5\n'
            'evidence = "unverified"\nsource = "x"\n\n[clock]',
            "(file): Additional properties are not allowed ('switch' was unexpected)",
        ),
    ],
)
def test_the_older_edition_has_its_own_identifiers_and_no_relay(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    faults = _check(_OLD, tmp_path, right, wrong)
    assert any(fault.startswith(message) for fault in faults), faults


def test_a_sold_meter_without_money_to_read_back_is_refused(tmp_path: Path) -> None:
    text = _ESAM.read_text("utf-8")
    path = tmp_path / "blind.toml"
    begin, end = text.index("[money]"), text.index("# 070000FF identity")
    path.write_text(text[:begin] + text[end:], "utf-8")
    assert check_profile(path) == [
        "credit: a meter that is sold to needs [money], or no sale can be read back"
    ]
    section = text[begin:end].replace("optional = false", "optional = true")
    path.write_text(text[:begin] + section + text[end:], "utf-8")
    assert check_profile(path) == ["money.optional: a meter that is sold to has money to show"]


def test_a_makers_own_identifier_needs_its_format_and_then_works(tmp_path: Path) -> None:
    own = '\n[items.format]\nlength = 5\ndecimals = 3\nunit = "kWh"\n'
    text = _ESAM.read_text("utf-8").replace('di = "0001FF00"', 'di = "0A01FF00"')
    at = text.index("\n# Phase A")
    path = tmp_path / "own.toml"
    path.write_text(text[:at] + own + text[at:], "utf-8")
    assert check_profile(path) == []
    layout = load_profile(path).map
    assert isinstance(layout, Dlt645Map)
    form = layout.items[0].format
    assert form is not None
    assert (form.length, form.decimals, form.unit, form.signed) == (5, 3, "kWh", False)


def _check(shipped: Path, folder: Path, right: str, wrong: str) -> list[str]:
    text = shipped.read_text("utf-8")
    assert right in text
    path = folder / "wrong.toml"
    path.write_text(text.replace(right, wrong, 1), "utf-8")
    with pytest.raises(ProfileError):
        load_profile(path)
    return check_profile(path)
