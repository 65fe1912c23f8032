"""What a unit costs at an instant is what charging would take for the next one, by band and by step."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from backend.kernel.band_calendar import DaySlot
from backend.tariffs.present import present
from backend.tariffs.rules import (
    BASE_UNITS,
    Fee,
    Position,
    Season,
    Step,
    TariffKind,
    Terms,
    Use,
    compile_terms,
    price_usage,
    total_of,
)

NOON = datetime(2026, 7, 6, 4, 0, tzinfo=UTC)  # a Monday noon in China
PEAK_VALLEY = Terms(
    TariffKind.ELECTRICITY,
    (Season(1, 1, {"flat": 6_000, "peak": 10_000, "valley": 3_000}, weekend=1),),
    day_plans=(
        (
            DaySlot(0, "valley"),
            DaySlot(360, "valley"),
            DaySlot(480, "peak"),
            DaySlot(660, "flat"),
            DaySlot(1080, "peak"),
            DaySlot(1260, "valley"),
        ),
        (DaySlot(0, "flat"),),
    ),
    steps=(Step(240_000, 500), Step(400_000, 3_000)),
    loss=Fee(share=300),
    service=Fee(per_unit=200),
    monthly=100_000,
)
PLAN = compile_terms(PEAK_VALLEY)


@pytest.mark.parametrize("used", [0, 239_000, 240_000, 399_000, 400_000, 900_000])
@pytest.mark.parametrize(("hour", "band"), [(1, "valley"), (9, "peak"), (12, "flat"), (20, "peak")])
def test_the_price_now_is_what_the_next_unit_is_charged(used: int, hour: int, band: str) -> None:
    now = present(PLAN, NOON.replace(hour=(hour - 8) % 24, day=6 - (hour < 8)), used=used)
    assert now.band == band
    position = Position(0, 0, Use(flat=used))
    charged = total_of(price_usage(PLAN, Use(**{band: BASE_UNITS}), position))
    assert abs(now.price - charged) <= 2, "charging rounds line by line"


def test_the_bands_of_the_day_are_told_with_their_hours_and_prices() -> None:
    now = present(PLAN, NOON, used=0)
    assert (now.band, now.until) == ("flat", 1080)
    assert [(band.band, band.spans) for band in now.bands] == [
        ("peak", ((480, 660), (1080, 1260))),
        ("flat", ((660, 1080),)),
        ("valley", ((0, 480), (1260, 1440))),
    ]
    assert [band.price for band in now.bands] == [10_500, 6_380, 3_290]


@pytest.mark.parametrize(
    ("clock", "band", "until"),
    [
        ("10:59", "peak", 660),
        ("11:00", "flat", 1080),
        ("11:30", "flat", 1080),
        ("17:59", "flat", 1080),
    ],
)
def test_a_band_is_told_to_the_minute(clock: str, band: str, until: int) -> None:
    hour, minute = map(int, clock.split(":"))
    now = present(PLAN, NOON.replace(hour=hour - 8, minute=minute), used=0)
    assert (now.band, now.until) == (band, until)


def test_the_step_is_told_with_what_is_left_until_the_next() -> None:
    steps = [(0, 1, 240_000), (239_999, 1, 1), (240_000, 2, 160_000), (400_000, 3, None)]
    for used, step, left in steps:
        now = present(PLAN, NOON, used=used)
        assert (now.step, now.steps, now.left, now.monthly) == (step, 3, left, 100_000)


def test_a_day_of_one_price_has_no_bands_to_tell() -> None:
    sunday = NOON.replace(day=5)
    now = present(PLAN, sunday, used=0)
    assert (now.band, now.until, now.bands) == ("", 1440, ())
    assert now.price == present(PLAN, NOON, used=0).price
    holiday = compile_terms(replace(PEAK_VALLEY, days={date(2026, 7, 6): 1}))
    assert present(holiday, NOON, used=0).band == ""
    water = compile_terms(Terms(TariffKind.WATER, (Season(1, 1, {"flat": 35_000}),)))
    now = present(water, NOON, used=5_000)
    assert (now.price, now.step, now.steps, now.left) == (35_000, 1, 1, None)


def test_a_meter_that_holds_its_money_knows_prices_of_bands_and_nothing_else() -> None:
    now = present(PLAN, NOON, used=None)
    assert (now.price, now.step, now.steps, now.left, now.monthly) == (6_000, 1, 1, None, 0)
    assert [band.price for band in now.bands] == [10_000, 6_000, 3_000]
