"""What prices and what hours of them a meter is to hold, and when to try again. Pure; prices are hao per kWh
by band."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta

from backend.kernel.band_calendar import BANDS, Calendar, DaySlot, calendar_numbers, plain

# A meter that holds other prices than it should for so long is a case for a person.
LAGS_FOR = timedelta(hours=24)
# A command lives for a day and is tried again by itself, so a failed one is no matter of seconds.
_AGAIN_AFTER = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=4), timedelta(hours=12))
# What use counts as in a meter that has not the band.
_STANDS_IN = {"spike": "peak", "peak": "flat", "valley": "flat", "deep": "valley"}


def again_after(tries: int) -> timedelta:
    """How long after the `tries`-th failure (from 1) to send the prices again."""
    return _AGAIN_AFTER[min(tries, len(_AGAIN_AFTER)) - 1]


def prices_for(bands: Collection[str], prices: Mapping[str, int]) -> tuple[dict[str, int], str]:
    """What a meter of these bands is to hold of prices that name every band, and why it cannot hold
    them; empty when it can.

    A band that it has not may be left out when it costs what the band costs that stands in for it.
    """
    held = {band: prices[band] for band in BANDS if band in bands}
    if not held:
        return held, "the model holds no prices"
    lost = [
        band
        for band in BANDS
        if band not in bands and prices[band] != prices[_STANDS_IN.get(band, "flat")]
    ]
    if "flat" not in bands and len(set(prices.values())) > 1:
        lost.append("flat")
    return held, f"the model has no band {', '.join(lost)}" if lost else ""


def calendar_for(bands: Collection[str], hours: Calendar) -> dict[str, int]:
    """What a meter of these bands is to hold of `hours`, as an order says it; of a band that it has not, the
    one that stands in for it, which costs the same (prices_for)."""

    def held(band: str) -> str:
        while band not in bands and band in _STANDS_IN:
            band = _STANDS_IN[band]
        return band

    tables = (tuple(DaySlot(each.minute, held(each.band)) for each in day) for day in hours.tables)
    return calendar_numbers(plain(Calendar(hours.zones, tuple(tables))))
