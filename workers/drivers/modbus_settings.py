"""Prices, thresholds, clock and calendar of a Modbus meter, as its profile says they are held.

A write is sent once and never by itself again; the caller reads back. Everything is checked before
the first byte is sent, and what a group of values needs beside the given ones is read first and
written back as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from backend.kernel.band_calendar import BANDS, Calendar
from backend.kernel.clock import CHINA
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from workers.profiles.modbus_map import ModbusMap
from workers.profiles.modbus_settings_map import (
    LOAD,
    LOAD_LIMITS,
    PRIVATE_WRITE,
    CalendarMap,
    ClockWrite,
    SettingPlace,
    Settings,
    SettingsWrite,
    SettingValue,
)
from workers.protocols import modbus
from workers.protocols.framing import Exchange
from workers.protocols.modbus import Question
from workers.protocols.values import read_int, to_words

from . import modbus_calendar
from .bare import BareDriver
from .ports import LoadLimits, Thresholds

_MOST = 125
_PRICE = "price."
_MONEY = ("alarm1", "alarm2", "overdraft")


class ModbusSettings(BareDriver):
    """The settings half of a Modbus driver, which sets what is declared here."""

    __slots__ = ("_exchange", "_map", "_unit")
    _exchange: Exchange
    _map: ModbusMap
    _unit: int

    async def prices(self) -> Mapping[str, int]:
        """See CanPrice.prices."""
        settings = self._settings("prices", _PRICE)
        names = [name for name in settings.values if name.startswith(_PRICE)]
        held = await self._held(settings, names)
        return {
            band: held[_PRICE + band] * settings.values[_PRICE + band].unit
            for band in BANDS
            if _PRICE + band in held
        }

    async def write_prices(self, prices: Mapping[str, int], /) -> None:
        """See CanPrice.write_prices."""
        settings = self._settings("prices", _PRICE)
        unknown = [band for band in prices if _PRICE + band not in settings.values]
        if unknown or not prices:
            raise InvalidInput(f"no such bands: {', '.join(unknown)}", field="prices")
        await self._set(settings, {_PRICE + band: price for band, price in prices.items()})

    async def thresholds(self) -> Thresholds:
        """See CanWarn.thresholds."""
        settings = self._settings("thresholds", "")
        names = [name for name in (*_MONEY, "overload") if name in settings.values]
        held = {
            name: raw * settings.values[name].unit
            for name, raw in (await self._held(settings, names)).items()
        }
        money = {name: Money(held[name]) for name in _MONEY if name in held}
        return Thresholds(**money, overload_w=held.get("overload"))

    async def write_thresholds(self, thresholds: Thresholds, /) -> None:
        """See CanWarn.write_thresholds."""
        settings = self._settings("thresholds", "")
        wanted = {
            name: amount.hao
            for name, amount in (
                ("alarm1", thresholds.alarm1),
                ("alarm2", thresholds.alarm2),
                ("overdraft", thresholds.overdraft),
            )
            if amount is not None
        }
        if thresholds.overload_w is not None:
            wanted["overload"] = thresholds.overload_w
        for name in wanted:
            if name not in settings.values:
                raise self._lacks(f"a threshold {name}")
        await self._set(settings, wanted)

    async def load_limits(self) -> LoadLimits:
        """See CanLimitLoad.load_limits."""
        settings = self._load_settings()
        names = {name: LOAD + name for name in LOAD_LIMITS} | {"most_w": "overload"}
        raw = await self._held(settings, names.values())
        held = {name: raw[at] * settings.values[at].unit for name, at in names.items()}
        return LoadLimits(on=held.pop("on") != 0, **held)

    async def write_load_limits(self, limits: LoadLimits | None, /) -> None:
        """See CanLimitLoad.write_load_limits."""
        settings = self._load_settings()
        if limits is None:
            return await self._set(settings, {LOAD + "on": 0})
        wanted = {LOAD + name: int(getattr(limits, name)) for name in LOAD_LIMITS}
        await self._set(settings, wanted | {"overload": limits.most_w})

    def _load_settings(self) -> Settings:
        settings = self._map.settings
        if settings is None or not settings.holds_load_limits:
            raise self._lacks("load limits")
        return settings

    async def write_clock(self, now: datetime, /) -> None:
        """See CanKeepTime.write_clock."""
        place = self._map.clock_write
        if place is None:
            raise self._lacks("a clock that can be set")
        await self._write(place.function, place.address, clock_bytes(place, now))

    async def calendar(self) -> Calendar:
        """See CanKeepTime.calendar."""
        place = self._calendar_map()
        runs = [(at, place.table_registers) for at in place.tables]
        runs.append((place.zones, place.zone_registers))
        *tables, zones = await self._read_runs(runs)
        return modbus_calendar.decode(place, tables=tables, zones=zones)

    async def write_calendar(self, calendar: Calendar, /) -> None:
        """See CanKeepTime.write_calendar: the day tables first, then the zones that point to them."""
        place = self._calendar_map()
        tables, zones = modbus_calendar.encode(place, calendar)
        for at, table in zip(place.tables, tables, strict=False):
            await self._write(place.function, at, table)
        await self._write(place.function, place.zones, zones)

    def _settings(self, what: str, prefix: str) -> Settings:
        settings = self._map.settings
        if settings is None or not any(name.startswith(prefix) for name in settings.values):
            raise self._lacks(what)
        return settings

    def _calendar_map(self) -> CalendarMap:
        if self._map.calendar is None:
            raise self._lacks("a calendar")
        return self._map.calendar

    async def _set(self, settings: Settings, wanted: Mapping[str, int]) -> None:
        """Write `wanted` (name to value in our unit) with the groups they belong to."""
        narrow = {place.name for place in _places(settings) if place.bytes}
        raw = {
            name: _raw(settings.values[name], value, bits=8 if name in narrow else None)
            for name, value in wanted.items()
        }
        writes = [write for write in settings.writes if _touched(write, raw)]
        beside = {name for write in writes for name in _touched(write, raw)} - set(raw)
        if beside:
            raw |= await self._held(settings, beside)
        for write in writes:
            data = bytearray(2 * write.registers)
            for group in write.groups:
                if not any(place.name in wanted for place in group.values):
                    continue
                if group.enable is not None:
                    data[group.enable] = 1
                for place in group.values:
                    value = self._bytes(settings.values[place.name], place, raw[place.name])
                    data[place.at : place.at + len(value)] = value
            await self._write(write.function, write.address, bytes(data))

    async def _held(self, settings: Settings, names: Collection[str]) -> dict[str, int]:
        """What the meter holds for `names`, in register units."""
        values = [settings.values[name] for name in names]
        found = await self._read_runs([(value.register, value.type.words) for value in values])
        order = self._map.word_order
        return {
            value.name: _part(value, read_int(registers, at=0, kind=value.type, order=order))
            for value, registers in zip(values, found, strict=True)
        }

    def _bytes(self, value: SettingValue, place: SettingPlace, raw: int) -> bytes:
        if place.bytes is not None:
            return raw.to_bytes(place.bytes, "big")
        words = to_words(raw, kind=value.type, order=self._map.word_order)
        return b"".join(word.to_bytes(2, "big") for word in words)

    async def _read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes]:
        """The register bytes of each (address, count), neighbours read in one question."""
        found: dict[int, bytes] = {}
        for first, count in merged(runs):
            answer = await self._ask(
                modbus.read_registers(unit=self._unit, address=first, count=count)
            )
            registers = modbus.registers_of(answer)
            for address, words in runs:
                if first <= address and address + words <= first + count:
                    found[address] = registers[2 * (address - first) :][: 2 * words]
        return [found[address] for address, _ in runs]

    async def _write(self, function: int, address: int, data: bytes) -> None:
        words = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
        write = modbus.private_write if function == PRIVATE_WRITE else modbus.write_registers
        question = write(unit=self._unit, address=address, values=words)
        modbus.check_taken(await self._ask(question))

    async def _ask(self, question: Question) -> bytes:
        return await self._exchange(question.request, question.expected)


def merged(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs (address, count) as few questions: those that touch or overlap are joined, none over 125.

    Gaps are not read over: a strict meter refuses a question that spans a register it has not.
    """
    joined: list[tuple[int, int]] = []
    for address, count in sorted(set(runs)):
        if joined:
            first, length = joined[-1]
            end = max(first + length, address + count)
            if address <= first + length and end - first <= _MOST:
                joined[-1] = (first, end - first)
                continue
        joined.append((address, count))
    return joined


def clock_bytes(place: ClockWrite, now: datetime) -> bytes:
    """The bytes of the clock write at the instant `now`. Raises InvalidInput before 2000, after 2099."""
    local = now.astimezone(CHINA)
    if not 2000 <= local.year <= 2099:
        raise InvalidInput("a meter's clock runs from 2000 to 2099", field="now")
    weekday = local.isoweekday() if place.sunday == 7 else local.isoweekday() % 7 + place.sunday
    parts = {
        "second": local.second,
        "minute": local.minute,
        "hour": local.hour,
        "weekday": weekday,
        "day": local.day,
        "month": local.month,
        "year": local.year - 2000,
        "zero": 0,
    }
    return bytes(parts[name] for name in place.layout)


def _places(settings: Settings) -> Iterator[SettingPlace]:
    for write in settings.writes:
        for group in write.groups:
            yield from group.values


def _part(value: SettingValue, raw: int) -> int:
    """The byte of its register that a value is, or all of it."""
    return {None: raw, "high": raw >> 8, "low": raw & 0xFF}[value.byte]


def _touched(write: SettingsWrite, wanted: Collection[str]) -> set[str]:
    """Every value that `write` must carry when it sets those of `wanted` that are its own."""
    groups = [{place.name for place in group.values} for group in write.groups]
    return set[str]().union(*(names for names in groups if not names.isdisjoint(wanted)))


def _raw(value: SettingValue, wanted: int, *, bits: int | None) -> int:
    """`wanted` in register units; `bits`: fewer than its registers have. Raises InvalidInput when they cannot
    hold it exactly."""
    raw, rest = divmod(wanted, value.unit)
    bits = bits or 16 * value.type.words - (1 if value.type.signed else 0)
    lowest = -(1 << bits) if value.type.signed else 0
    if rest:
        raise InvalidInput(
            f"{value.name}: {wanted} is no multiple of the meter's unit {value.unit}",
            field=value.name,
        )
    if not lowest <= raw < 1 << bits:
        raise InvalidInput(f"{value.name}: the meter cannot hold {wanted}", field=value.name)
    return raw
