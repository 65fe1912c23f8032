"""Limits and prices of a DL/T 645 meter: read, checked as a whole, then written item by item.

Prices are changed the safe way where the meter keeps a spare set: the new ones go there, are read
back, and only then the moment is written at which the sets change places. A series that breaks off
in the middle leaves the prices in force as they were; written straight into the set in force it
would leave some of them new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from backend.kernel.clock import CHINA
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.money import Money
from workers.profiles.dlt645_map import PriceItems, ThresholdItems
from workers.protocols.dlt645_data import decode_values, encode_values
from workers.protocols.dlt645_values import encode_moment
from workers.protocols.errors import BadValue, WrongEcho

from .dlt645_line import Dlt645Line
from .ports import Thresholds


async def read_thresholds(line: Dlt645Line, place: ThresholdItems) -> Thresholds:
    """The limits in yuan. Raises LinkDown, NoAnswer, FrameError, MeterRefused."""
    found: dict[str, Money | None] = {}
    for name, di in place.items.items():
        data = await line.read_if_any(di)
        found[name] = None if data is None else _money(line, di, data)
    return Thresholds(
        alarm1=found.get("alarm1"), alarm2=found.get("alarm2"), overdraft=found.get("overdraft")
    )


async def write_thresholds(line: Dlt645Line, place: ThresholdItems, wanted: Thresholds) -> None:
    """Write those that are given, one item each. Raises Conflict and InvalidInput before anything is
    sent, and as Dlt645Line.write."""
    given: dict[str, Money | None] = {
        "alarm1": wanted.alarm1,
        "alarm2": wanted.alarm2,
        "overdraft": wanted.overdraft,
    }
    writes: list[tuple[str, bytes]] = []
    if wanted.overload_w is not None:
        raise Conflict(f"{line.model} has no threshold overload_w")
    for name, amount in given.items():
        if amount is None:
            continue
        if name not in place.items:
            raise Conflict(f"{line.model} has no threshold {name}")
        writes.append((place.items[name], encode_values([str(amount)], di=place.items[name])))
    for di, data in writes:
        await line.write(di, data, level=place.level)


async def read_prices(line: Dlt645Line, place: PriceItems, rates: Sequence[str]) -> dict[str, int]:
    """The prices in force, hao per kWh by band. Raises LinkDown, NoAnswer, FrameError, MeterRefused."""
    return await _read_set(line, place.current, rates)


async def write_prices(
    line: Dlt645Line, place: PriceItems, rates: Sequence[str], prices: Mapping[str, int]
) -> None:
    """Change prices; bands that are not given keep theirs. With a spare set they hold
    `place.lead_minutes` from now, so read them back after that.

    Raises InvalidInput (nothing was sent), WrongEcho (the spare set does not read back: the prices in
    force are as they were), and as Dlt645Line.read and write."""
    unknown = [band for band in prices if band not in rates]
    if unknown or not prices:
        raise InvalidInput(f"the meter has no band {', '.join(unknown) or 'here'}", field="prices")
    target = place.spare or place.current
    items = [f"{target}{number:02X}" for number in range(1, len(rates) + 1)]
    for band, hao in prices.items():
        _price_data(items[rates.index(band)], hao)
    wanted = {**await read_prices(line, place, rates), **prices}
    for di, band in zip(items, rates, strict=True):
        if place.spare is not None or band in prices:
            await line.write(di, _price_data(di, wanted[band]), level=place.level)
    if place.spare is None or place.switch_moment is None:
        return
    if await _read_set(line, place.spare, rates) != wanted:
        raise WrongEcho(f"meter {line.address} keeps other spare prices than were written")
    at = line.access.clock.now() + timedelta(minutes=place.lead_minutes)
    # Whole minutes, rounded up: never sooner than promised.
    local = (at + timedelta(seconds=59)).astimezone(CHINA)
    moment = encode_moment(f"{local:%Y-%m-%d %H:%M}")
    await line.write(place.switch_moment, moment, level=place.level)


async def _read_set(line: Dlt645Line, prefix: str, rates: Sequence[str]) -> dict[str, int]:
    di = f"{prefix}FF"
    values = decode_values(await line.read(di), di=di, edition=line.layout.edition)
    if len(values) < len(rates):
        raise BadValue(f"{len(values)} prices, the meter should have {len(rates)}")
    found: dict[str, int] = {}
    for band, value in zip(rates, values, strict=False):
        if value.value is None:
            raise BadValue(f"the meter has no price for {band}")
        found[band] = Money.parse(value.value).hao
    return found


def _price_data(di: str, hao: int) -> bytes:
    return encode_values([str(Money(hao))], di=di)


def _money(line: Dlt645Line, di: str, data: bytes) -> Money | None:
    value = decode_values(data, di=di, edition=line.layout.edition)[0].value
    return None if value is None else Money.parse(value)
