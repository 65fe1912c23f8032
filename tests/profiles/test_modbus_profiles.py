"""The Modbus profiles: what they may claim, and every mistake in a new one that `profile check` names."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.kernel.errors import InvalidInput
from workers.drivers.modbus_reading import blocks_to_read
from workers.profiles.circuits import CircuitGroup, Circuits
from workers.profiles.loader import PROFILE_DIR, check_profile, load_profile, profile_of
from workers.profiles.modbus_map import ModbusMap

from .modbus_mistakes import MISTAKES

_FILES = [
    path
    for path in sorted(PROFILE_DIR.glob("*.toml"))
    if tomllib.loads(path.read_text("utf-8"))["protocol"] == "modbus-rtu"
]
# What reference/meter-protocols.md section 5 backs by a vendor's page or a published list; the rest
# of every file is unverified until somebody has held it against a meter.
_BACKED = {
    ("DDSY1352-NK", "blocks.measurement"),
    ("ADL3000-E", "blocks.energy"),
    ("DTSD1352", "blocks.energy"),
    ("ACR10R", "blocks.now"),
}


def _graded(part: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        if "evidence" in part:
            yield f"{key}.{part['name']}" if "name" in part else key, part["evidence"]
        for name, value in part.items():
            yield from _graded(value, f"{key}.{name}".lstrip("."))
    elif isinstance(part, list):
        for value in part:
            yield from _graded(value, key)


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_a_profile_claims_no_more_than_its_source_does(path: Path) -> None:
    tree = tomllib.loads(path.read_text("utf-8"))
    for key, grade in _graded(tree):
        expected = "vendor-document" if (tree["model"], key) in _BACKED else "unverified"
        assert grade == expected, key


def test_what_is_backed_is_there() -> None:
    found = {
        (tree["model"], key)
        for tree in (tomllib.loads(path.read_text("utf-8")) for path in _FILES)
        for key, grade in _graded(tree)
        if grade == "vendor-document"
    }
    assert found == _BACKED


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_a_meter_that_is_sold_to_says_which_type_it_is(path: Path) -> None:
    layout = load_profile(path).map
    assert isinstance(layout, ModbusMap)
    assert layout.sale is None or layout.identity is not None


@pytest.mark.parametrize(("name", "right", "wrong", "told"), MISTAKES)
def test_a_mistake_is_told_by_its_key(
    tmp_path: Path, name: str, right: str, wrong: str, told: str
) -> None:
    text = (PROFILE_DIR / f"{name}.toml").read_text("utf-8")
    assert right in text
    path = tmp_path / "copy.toml"
    path.write_text(text.replace(right, wrong, 1), "utf-8")
    faults = check_profile(path)
    assert any(re.match(told, fault) for fault in faults), faults


def test_a_site_can_make_a_profile_of_its_own_from_the_generic_one(tmp_path: Path) -> None:
    text = (PROFILE_DIR / "generic-modbus.toml").read_text("utf-8")
    for right, mine in (
        ('"GENERIC-MODBUS"', '"SITE-7"'),
        ("function = 3 ", "function = 4 "),
        ("address = 0x0000", "address = 100"),
        ("register = 0x0000", "register = 100"),
        ("multiply = 10", "multiply = 1"),
        ("divide = 1 ", "divide = 10 "),
        ("ct = { fixed = 1 }", "ct = { fixed = 40 }"),
    ):
        text = text.replace(right, mine, 1)
    text = re.sub(r"^# (\[switch\]|[a-z_]+ = .*)$", r"\1", text, flags=re.MULTILINE)
    path = tmp_path / "site-7.toml"
    path.write_text(text.replace("divide = 1\n", "divide = 10\n", 1), "utf-8")
    assert check_profile(path) == []
    profile = load_profile(path)
    assert isinstance(profile.map, ModbusMap)
    assert profile.map.switch is not None
    assert profile.map.switch.states["close"] == (1,)
    (total,) = profile.map.fields
    assert (total.multiply, total.divide, total.ratios) == (1, 10, ("ct", "pt"))


def test_a_block_that_is_asked_for_brings_the_ratios_it_needs() -> None:
    layout = profile_of("DTSY1352-NK").map
    assert isinstance(layout, ModbusMap)
    assert [block.name for block in blocks_to_read(layout)] == ["poll"]
    assert [block.name for block in blocks_to_read(layout, {"deep"})] == ["poll", "deep"]
    for names in ({"deeper"}, set[str]()):
        with pytest.raises(InvalidInput):
            blocks_to_read(layout, names)


_ADF400L = Circuits(
    sizes=(36,),
    max_address=247,
    groups=(CircuitGroup("ct", 3), CircuitGroup("three", 3), CircuitGroup("single", 1)),
    evidence="vendor-document",
    source="the vendor's example for ADF400L, section 5.4",
)


def test_the_vendors_example_box_has_the_addresses_that_the_vendor_prints() -> None:
    counts = {"ct": 4, "three": 4, "single": 12}
    circuits = _ADF400L.addresses(size=36, box=1, counts=counts)
    by_group = {
        name: [circuit.address for circuit in circuits if circuit.group == name] for name in counts
    }
    assert by_group == {
        "ct": [1, 4, 7, 10],
        "three": [13, 16, 19, 22],
        "single": list(range(25, 37)),
    }
    second = _ADF400L.addresses(size=36, box=2, counts={"ct": 1})
    third = _ADF400L.addresses(size=36, box=3, counts={"ct": 1})
    assert (second[0].address, third[0].address) == (37, 73)


def test_six_boxes_fill_a_bus_and_no_box_holds_more_than_it_has() -> None:
    _ADF400L.addresses(size=36, box=6, counts={"single": 36})
    for wrong in (
        {"size": 36, "box": 7, "counts": {"single": 1}},
        {"size": 36, "box": 0, "counts": {"single": 1}},
        {"size": 24, "box": 1, "counts": {"single": 1}},
        {"size": 36, "box": 1, "counts": {"single": 37}},
        {"size": 36, "box": 1, "counts": {"three": 12, "single": 1}},
        {"size": 36, "box": 1, "counts": {"double": 1}},
        {"size": 36, "box": 1, "counts": {"single": -1}},
    ):
        with pytest.raises(InvalidInput):
            _ADF400L.addresses(**wrong)  # type: ignore[arg-type]  # one row of a table
