"""A dead meter costs its bus less and less, and is heard again when it is back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.kernel.errors import InvalidInput
from backend.metering.rules import MeterKind, MeterModel, tries_of_sweep

HALF_HOUR = timedelta(minutes=30)


@pytest.mark.parametrize(
    ("silent_for", "tries"),
    [
        (timedelta(0), 2),
        (timedelta(minutes=89), 2),
        (timedelta(minutes=90), 1),
        (timedelta(hours=23, minutes=59), 1),
    ],
)
def test_a_meter_just_lost_is_asked_twice_and_later_once(silent_for: timedelta, tries: int) -> None:
    assert tries_of_sweep(silent_for=silent_for, period=HALF_HOUR, number=1) == tries


def test_a_meter_dead_for_a_day_is_asked_in_every_fourth_sweep() -> None:
    asked = [
        tries_of_sweep(silent_for=timedelta(days=2), period=HALF_HOUR, number=number)
        for number in range(100, 108)
    ]
    assert asked == [1, 0, 0, 0, 1, 0, 0, 0]


def test_neighbours_that_are_dead_are_not_asked_in_the_same_sweep() -> None:
    sweep = 1000
    asked = [
        tries_of_sweep(silent_for=timedelta(days=2), period=HALF_HOUR, number=sweep + index)
        for index in range(8)
    ]
    assert sum(asked) == 2


def _model(protocol: str) -> MeterModel:
    return MeterModel("M", "maker", MeterKind.ELECTRICITY, 1, protocol, True, True, "unverified")


@pytest.mark.parametrize(
    ("protocol", "address"),
    [
        ("modbus-rtu", "1"),
        ("modbus-rtu", "247"),
        ("dlt645-2007", "000000000001"),
        ("dlt645-1997", "151230011061"),
        ("cjt188", "33051590056910"),
    ],
)
def test_an_address_of_one_meter_is_taken(protocol: str, address: str) -> None:
    _model(protocol).check_bus_address(address)


@pytest.mark.parametrize(
    ("protocol", "address"),
    [
        ("modbus-rtu", "0"),
        ("modbus-rtu", "248"),
        ("modbus-rtu", "01"),
        ("modbus-rtu", ""),
        ("modbus-rtu", "-1"),
        ("dlt645-2007", "999999999999"),
        ("dlt645-2007", "AAAAAAAAAAAA"),
        ("dlt645-2007", "12345"),
        ("cjt188", "AAAAAAAAAAAAAA"),
        ("cjt188", "1"),
    ],
)
def test_a_broadcast_or_wildcard_or_wrong_address_is_refused(protocol: str, address: str) -> None:
    with pytest.raises(InvalidInput):
        _model(protocol).check_bus_address(address)
