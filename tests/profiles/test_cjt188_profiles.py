"""CJ/T 188 profiles: the shipped ones say what they should, a wrong one says which key is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.profiles.cjt188_map import Cjt188Map
from workers.profiles.loader import (
    PROFILE_DIR,
    ProfileError,
    check_profile,
    load_profile,
    profile_of,
)

_VALVE = PROFILE_DIR / "jicheng-188-valve.toml"
_HEAT = PROFILE_DIR / "generic-188-heatcold.toml"
_MODELS = (
    "JICHENG-188-VALVE", "AIMEIKE-188-VALVE", "LIANLI-188-VALVE",
    "GENERIC-188-WATER", "GENERIC-188-HEAT", "GENERIC-188-HEATCOLD",
)  # fmt: skip


@pytest.mark.parametrize("model", _MODELS)
def test_water_and_heat_meters_hold_no_money_and_claim_nothing_untried(model: str) -> None:
    profile = profile_of(model)
    assert profile.kind == ("heat" if "HEAT" in model else "water")
    assert profile.switches == ("VALVE" in model)
    assert (profile.holds_money, profile.phases) == (False, 0)
    assert profile.evidence == "unverified"


def test_a_heat_and_cold_meter_names_which_energy_is_which() -> None:
    both, heat = profile_of("GENERIC-188-HEATCOLD").map, profile_of("GENERIC-188-HEAT").map
    assert isinstance(both, Cjt188Map)
    assert isinstance(heat, Cjt188Map)
    assert both.reading.energies == ("cold_wh", "total")
    assert heat.reading.energies == ("settlement", "total")


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("type = 0x10", "type = 0x20", "dialect.type: 0x20 is no type of a water meter"),
        ("type = 0x10", "type = 0x0F", "dialect.type: 15 is less than the minimum"),
        ('"high-first"', '"big"', "dialect.di_order: 'big' is not one of"),
        ('"after"', '"inside"', "dialect.unit_place: 'inside' is not one of"),
        ('status_bits = "standard"\n', "", "dialect.status_bits: said if and only if"),
        ('form = "water"', 'form = "heat"', "reading.form: a water meter has no reading of heat"),
        ('form = "water"', 'form = "gas"', "reading.form: 'gas' is not one of"),
        ('kind = "water"', 'kind = "heat"', "reading.form: a heat meter has no reading of water"),
        (
            "battery_low_bit = 2",
            'battery_low_bit = 2\nenergy_1 = "total"',
            "reading: energy_1 and energy_2 are of heat meters",
        ),
        ("battery_low_bit = 2", "battery_low_bit = 8", "reading.battery_low_bit: 8 is greater"),
        ("open = 0x55", "open = 0x56", "valve.open: 86 is not one of"),
        ("close = 0x99\n", "", "valve: 'close' is a required property"),
        ("[valve]", "[relay]", "(file): Additional properties are not allowed"),
        ("wake_up = 4", "wake_up = -1", "dialect.wake_up: -1 is less than"),
        ('protocol = "cjt188"', 'protocol = "cjt189"', "protocol: 'cjt189' is not one of"),
    ],
)
def test_a_wrong_profile_names_the_key(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    faults = _check(_VALVE, tmp_path, right, wrong)
    assert any(fault.startswith(message) for fault in faults), faults


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('energy_1 = "cold_wh"\n', "", "reading: energy_1 and energy_2 are missing"),
        ('energy_1 = "cold_wh"', 'energy_1 = "total"', "reading: one energy is total"),
        ('energy_2 = "total"', 'energy_2 = "cold_wh"', "reading: one energy is total"),
        ('energy_2 = "total"', 'energy_2 = "heat"', "reading.energy_2: 'heat' is not one of"),
        ("type = 0x20", "type = 0x30", "dialect.type: 48 is greater than"),
    ],
)
def test_a_wrong_heat_profile_names_the_key(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    faults = _check(_HEAT, tmp_path, right, wrong)
    assert any(fault.startswith(message) for fault in faults), faults


def _check(shipped: Path, folder: Path, right: str, wrong: str) -> list[str]:
    text = shipped.read_text("utf-8")
    assert right in text
    path = folder / "wrong.toml"
    path.write_text(text.replace(right, wrong, 1), "utf-8")
    with pytest.raises(ProfileError):
        load_profile(path)
    return check_profile(path)
