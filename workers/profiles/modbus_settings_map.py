"""The settings of a Modbus profile: prices, thresholds, clock and calendar, and how each is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from workers.protocols.values import RegisterType

_Tree = dict[str, Any]
PRIVATE_WRITE = 0x20
KEEP = "keep."  # a value that nobody sets, but that its group overwrites: read it, write it back
LOAD = "load."
LOAD_LIMITS = ("on", "step_w", "factor_permille", "trips", "restore_minutes")  # beside overload
CLOCK_PARTS = ("second", "minute", "hour", "day", "month", "year")


@dataclass(frozen=True, slots=True)
class SettingValue:
    """Where a setting is read; one register unit is `unit` of ours (hao per kWh, hao, W, permille, minutes).
    `byte`: it is the high or the low byte of its register, None for all of it."""

    name: str
    register: int
    type: RegisterType
    unit: int
    byte: str | None = None


@dataclass(frozen=True, slots=True)
class SettingPlace:
    """Where in a write's data a value goes: the byte it starts at. `bytes`: 1 when it is written as one
    byte, None when as wide as it is read."""

    name: str
    at: int
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SettingGroup:
    """Values that are written together; byte `enable` is 1 when they are meant, else the meter
    leaves them alone. None: the write has no such bytes."""

    enable: int | None
    values: tuple[SettingPlace, ...]


@dataclass(frozen=True, slots=True)
class SettingsWrite:
    """One write of `registers` registers."""

    function: int
    address: int
    registers: int
    groups: tuple[SettingGroup, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """Prices and thresholds by name: price.<band>, alarm1, alarm2, overdraft, overload, load.<LOAD_LIMITS>,
    keep.<any>."""

    values: Mapping[str, SettingValue]
    writes: tuple[SettingsWrite, ...]
    evidence: str
    source: str

    @property
    def holds_load_limits(self) -> bool:
        """Whether the meter can be told what it may draw, and what to do beyond it."""
        return LOAD + LOAD_LIMITS[0] in self.values


@dataclass(frozen=True, slots=True)
class ClockWrite:
    """The write that sets the clock: one byte for each name of `layout`; `sunday` is Sunday's number
    (Monday is the next one)."""

    function: int
    address: int
    layout: tuple[str, ...]
    sunday: int
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class CalendarMap:
    """Day tables and year zones, three bytes an entry. `slot` and `zone` say which byte is what;
    `bands[i]` has the code `first_band` + i, table 1 the number `first_table`."""

    function: int
    tables: tuple[int, ...]
    slots: int
    slot: tuple[str, ...]
    zones: int
    zone_count: int
    zone: tuple[str, ...]
    bands: tuple[str, ...]
    first_band: int
    first_table: int
    evidence: str
    source: str

    @property
    def table_registers(self) -> int:
        """How many registers one day table fills."""
        return self.slots * 3 // 2

    @property
    def zone_registers(self) -> int:
        """How many registers the year zones fill."""
        return self.zone_count * 3 // 2


def settings_contradictions(tree: _Tree) -> Iterator[str]:
    """What the schema cannot say about `[settings]`."""
    values: dict[str, _Tree] = tree["values"]
    yield from _overlapping_values(values)
    yield from _wrong_load_limits(values)
    written: list[str] = []
    for index, write in enumerate(tree["writes"]):
        key = f"settings.writes[{index}]"
        yield from _wrong_write(key, write, values)
        written += [place["name"] for group in write["groups"] for place in group["values"]]
    for name in values:
        if written.count(name) != 1:
            how = "is written nowhere" if name not in written else "is written twice"
            yield f"settings.values.{name}: {how}"


def _wrong_load_limits(values: dict[str, _Tree]) -> Iterator[str]:
    """All of them or none: a meter that trips and never gives back is worse than one that does not trip."""
    names = ("overload", *(LOAD + name for name in LOAD_LIMITS))
    if any(name.startswith(LOAD) for name in values):
        for name in names:
            if name not in values:
                yield f"settings.values.{name}: is missing; load limits are held together or not at all"
    for name, value in values.items():
        if "byte" in value and value["type"] != RegisterType.U16:
            yield f"settings.values.{name}.byte: is of a u16"


def _overlapping_values(values: dict[str, _Tree]) -> Iterator[str]:
    taken: dict[int, str] = {}
    for name, value in values.items():
        for register in range(
            value["register"], value["register"] + RegisterType(value["type"]).words
        ):
            other = taken.setdefault(register, name)
            if other != name:
                yield f"settings.values.{name}.register: {register:#06x} belongs to {other}"
                break


def _wrong_write(key: str, write: _Tree, values: dict[str, _Tree]) -> Iterator[str]:
    used: set[int] = set()
    private = write["function"] == PRIVATE_WRITE
    for group_index, group in enumerate(write["groups"]):
        group_key = f"{key}.groups[{group_index}]"
        if private and "enable" not in group:
            yield f"{group_key}.enable: is missing; without it the meter ignores the group"
        if not private and "enable" in group:
            yield f"{group_key}.enable: function 16 has no enable bytes"
        spans = [(group["enable"], 1)] if "enable" in group else []
        for index, place in enumerate(group["values"]):
            value = values.get(place["name"])
            if value is None:
                yield (
                    f"{group_key}.values[{index}].name: {place['name']} is not in settings.values,"
                    " so nothing could read it back"
                )
                continue
            whole = 2 * RegisterType(value["type"]).words
            if value.get("byte") and "bytes" not in place:
                yield f"{group_key}.values[{index}].bytes: is missing; {place['name']} is one byte"
            spans.append((place["at"], place.get("bytes", whole)))
        for at, size in spans:
            span = set(range(at, at + size))
            if at + size > 2 * write["registers"]:
                yield f"{group_key}: byte {at + size - 1} lies outside {write['registers']} registers"
            if used & span:
                yield f"{group_key}: byte {min(used & span)} is used twice"
            used |= span
    holes = set(range(2 * write["registers"])) - used
    if not private and holes:
        yield f"{key}: byte {min(holes)} has no value and would be written as zero"


def clock_contradictions(tree: _Tree) -> Iterator[str]:
    """What the schema cannot say about `[clock_write]` of the whole profile `tree`."""
    layout = tree["clock_write"]["layout"]
    for part in CLOCK_PARTS:
        if layout.count(part) != 1:
            yield f"clock_write.layout: {part} must be there once"
    if len(layout) % 2:
        yield f"clock_write.layout: {len(layout)} bytes do not fill whole registers"
    if "clock" not in tree:
        yield "clock_write: needs [clock], or the clock that was set cannot be read back"


def calendar_contradictions(tree: _Tree) -> Iterator[str]:
    """What the schema cannot say about `[calendar]`."""
    for key in ("slots", "zone_count"):
        if tree[key] % 2:
            yield f"calendar.{key}: {tree[key]} x 3 bytes do not fill whole registers"
    runs = [(f"tables[{i}]", at, tree["slots"] * 3 // 2) for i, at in enumerate(tree["tables"])]
    runs.append(("zones", tree["zones"], tree["zone_count"] * 3 // 2))
    runs.sort(key=lambda run: run[1])
    for (name, at, count), (following, then, _) in pairwise(runs):
        if at + count > then:
            yield f"calendar.{following}: {then:#06x} lies inside calendar.{name}"


def build_settings(tree: _Tree) -> Settings:
    """`[settings]` of a tree that passed."""
    return Settings(
        values={
            name: SettingValue(
                name=name,
                register=value["register"],
                type=RegisterType(value["type"]),
                unit=value["unit"],
                byte=value.get("byte"),
            )
            for name, value in tree["values"].items()
        },
        writes=tuple(
            SettingsWrite(
                function=write["function"],
                address=write["address"],
                registers=write["registers"],
                groups=tuple(
                    SettingGroup(
                        enable=group.get("enable"),
                        values=tuple(SettingPlace(**place) for place in group["values"]),
                    )
                    for group in write["groups"]
                ),
            )
            for write in tree["writes"]
        ),
        evidence=tree["evidence"],
        source=tree["source"],
    )


def build_clock(tree: _Tree) -> ClockWrite:
    """`[clock_write]` of a tree that passed."""
    return ClockWrite(**{**tree, "layout": tuple(tree["layout"])})


def build_calendar(tree: _Tree) -> CalendarMap:
    """`[calendar]` of a tree that passed."""
    lists = {key: tuple(tree[key]) for key in ("tables", "slot", "zone", "bands")}
    return CalendarMap(**{**tree, **lists})
