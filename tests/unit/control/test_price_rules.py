"""A meter is sent only prices that it can hold as they are meant; a failure is tried again, ever later."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.control.price_rules import again_after, calendar_for, prices_for
from backend.kernel.band_calendar import BANDS, Calendar, DaySlot, YearZone, calendar_numbers

FIVE = {"spike": 12, "peak": 9, "flat": 6, "valley": 3, "deep": 2}
FLAT = dict.fromkeys(BANDS, 6)
FOUR = ("spike", "peak", "flat", "valley")


def test_a_meter_of_all_bands_is_sent_all_prices() -> None:
    assert prices_for(BANDS, FIVE) == (FIVE, "")


@pytest.mark.parametrize(
    ("bands", "prices", "unfit"),
    [
        (FOUR, FIVE, "no band deep"),
        (FOUR, FIVE | {"deep": 3}, ""),
        (("peak", "flat", "valley", "deep"), FIVE, "no band spike"),
        (("peak", "flat", "valley", "deep"), FIVE | {"spike": 9}, ""),
        (("flat",), FIVE, "no band spike, peak, valley, deep"),
        (("flat",), FLAT, ""),
        (("peak",), FLAT, ""),
        (("spike", "peak", "valley", "deep"), FIVE, "no band flat"),
        (("spike", "peak", "valley", "deep"), FLAT | {"flat": 1}, "no band flat"),
        ((), FLAT, "holds no prices"),
    ],
)
def test_a_band_that_the_meter_has_not_must_cost_what_stands_in_for_it(
    bands: tuple[str, ...], prices: dict[str, int], unfit: str
) -> None:
    held, why = prices_for(bands, prices)
    assert held == {band: prices[band] for band in BANDS if band in bands}
    assert why.endswith(unfit)
    assert bool(why) == bool(unfit)


def test_a_failure_is_tried_again_later_and_later_and_for_ever() -> None:
    waits = [again_after(tries) for tries in range(1, 9)]
    assert waits[:4] == [timedelta(minutes=15), *(timedelta(hours=n) for n in (1, 4, 12))]
    assert set(waits[4:]) == {timedelta(hours=12)}


def test_hours_of_a_band_that_the_meter_has_not_are_those_of_what_stands_in_for_it() -> None:
    day = tuple(
        DaySlot(60 * at, band) for at, band in enumerate(("deep", "valley", "spike", "flat"))
    )
    hours = Calendar((YearZone(1, 1, 1),), (day,))
    assert calendar_for(BANDS, hours) == calendar_numbers(hours)
    stood_in = (DaySlot(0, "valley"), DaySlot(120, "peak"), DaySlot(180, "flat"))
    three = ("peak", "flat", "valley")
    assert calendar_for(three, hours) == calendar_numbers(Calendar(hours.zones, (stood_in,)))
    only = Calendar(hours.zones, ((DaySlot(0, "flat"),),))
    assert calendar_for(("flat",), hours) == calendar_numbers(only)
    assert calendar_for(BANDS, Calendar((), ())) == {}
