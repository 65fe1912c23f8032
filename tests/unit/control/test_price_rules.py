"""A meter is sent only prices that it can hold as they are meant; a failure is tried again, ever later."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.control.command_rules import BANDS
from backend.control.price_rules import again_after, prices_for

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
