"""The part of a profile that speaks DL/T 645 (2007 and 1997), and how it is read from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from workers.protocols.dlt645_frame import Edition
from workers.protocols.dlt645_items import Layout, Parts, Row, layout

_Tree = dict[str, Any]

# What a target counts in: (unit of the item, how many of the target's units make one of it).
TARGET_UNITS: Mapping[str, tuple[str, int]] = {
    "total": ("kWh", 1000),
    "voltage_mv": ("V", 1000),
    "current_ma": ("A", 1000),
    "power_w": ("kW", 1000),
    "cover_opens": ("times", 1),
}


@dataclass(frozen=True, slots=True)
class Item:
    """One read: part n of identifier `di` is `targets[n]` ("" is not kept). `optional`: a meter that
    refuses it as "no such data" simply has none. `format`: only where the standard's table has
    none or the model differs from it."""

    di: str
    targets: tuple[str, ...]
    optional: bool
    evidence: str
    source: str
    format: Row | None = None


@dataclass(frozen=True, slots=True)
class StatusWord:
    """A word of 16 bits: `open_bit` set is relay open; `flags` by their bit."""

    di: str
    open_bit: int
    flags: Mapping[str, int]
    optional: bool
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class ClockItems:
    """One item of date and time, or a date and a time; written with password `level`, if at all."""

    items: tuple[str, ...]
    level: int | None
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class MoneyItems:
    """What the meter shows of its money; `overdraft` is asked only when nothing remains."""

    remaining: str
    overdraft: str | None
    purchase_count: str | None
    optional: bool
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class Credit:
    """How it is sold to. The one `way` so far: `esam`, the security function 03 with a key machine.
    `taken_back`: why no command lowers its money again."""

    way: str
    evidence: str
    taken_back: str
    source: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Remote control 1C: which `states` the model knows, the password `level`, how long an order
    holds, and the relay's `channel` (N2)."""

    states: tuple[str, ...]
    level: int
    valid_minutes: int
    channel: int
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class ThresholdItems:
    """Identifiers of the limits, those of Thresholds by name."""

    items: Mapping[str, str]
    level: int
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class PriceItems:
    """Prices of rate 1, 2, .. `current` and `spare` are the first six digits of their identifiers.

    With `spare` a change is written there, and `switch_moment` tells when the sets change places.
    """

    current: str
    spare: str | None
    switch_moment: str | None
    lead_minutes: int
    level: int
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class CalendarItems:
    """Identifiers of the year zones, of the day tables (first six digits) and of their sizes."""

    zones: str
    tables: str
    zone_count: str
    table_count: str
    slot_count: str
    level: int
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class Dlt645Map:
    """Items of a model. `rates` are the bands of rate 1, 2, ..; `passwords` what the factory sets, by
    level, in wire order. A part that it has not is None or empty."""

    edition: Edition
    wake_up: int
    items: tuple[Item, ...]
    rates: tuple[str, ...]
    status: StatusWord | None
    clock: ClockItems | None
    money: MoneyItems | None
    credit: Credit | None
    switch: Switch | None
    thresholds: ThresholdItems | None
    prices: PriceItems | None
    calendar: CalendarItems | None
    passwords: Mapping[int, bytes]


def layout_of(di: str, targets: int, form: Row | None, edition: Edition) -> Layout | None:
    """How the bytes of `di` are read: by `form` where the profile says it, else by the standard's
    table; None when neither knows it."""
    if form is None:
        return layout(di, edition=edition)
    return Layout(form, first=0, block=targets > 1, days_ago=0)


def unit_of(target: str) -> tuple[str, int]:
    """The unit of `target`'s item and how many of its own units make one of it."""
    return TARGET_UNITS["total" if target.startswith("bands.") else target]


def form_of(tree: _Tree | None, di: str) -> Row | None:
    """The `format` of an item, whose parts are as many as its targets."""
    if tree is None:
        return None
    return Row(
        di=di,
        name=f"item {di}",
        length=tree["length"],
        decimals=tree["decimals"],
        unit=tree["unit"],
        signed=tree.get("signed", False),
        parts=Parts.RATES,
    )


def build(tree: _Tree) -> Dlt645Map:
    """The map in a parsed profile that the schema and `contradictions` have passed."""
    status, limits = tree.get("status"), tree.get("thresholds")
    return Dlt645Map(
        edition=edition_of(tree),
        wake_up=tree["wake_up"],
        items=tuple(
            Item(
                **{
                    **item,
                    "targets": tuple(item["targets"]),
                    "format": form_of(item.get("format"), item["di"]),
                }
            )
            for item in tree["items"]
        ),
        rates=tuple(tree.get("rates", ())),
        status=status and StatusWord(**{"flags": {}, **status}),
        clock=_clock(tree.get("clock")),
        money=_with(MoneyItems, tree.get("money"), overdraft=None, purchase_count=None),
        credit=_with(Credit, tree.get("credit")),
        switch=_switch(tree.get("switch")),
        thresholds=limits
        and ThresholdItems(
            items={name: limits[name] for name in THRESHOLDS if name in limits},
            level=limits["level"],
            evidence=limits["evidence"],
            source=limits["source"],
        ),
        prices=_with(
            PriceItems, tree.get("prices"), spare=None, switch_moment=None, lead_minutes=0
        ),
        calendar=_with(CalendarItems, tree.get("calendar")),
        passwords={
            entry["level"]: bytes.fromhex(entry["factory"]) for entry in tree.get("passwords", ())
        },
    )


THRESHOLDS = ("alarm1", "alarm2", "overdraft")


def edition_of(tree: _Tree) -> Edition:
    """`2007` or `1997` of the protocol's name."""
    return cast(Edition, str(tree["protocol"]).removeprefix("dlt645-"))


def _with(kind: Any, tree: _Tree | None, **absent: Any) -> Any:
    return None if tree is None else kind(**{**absent, **tree})


def _clock(tree: _Tree | None) -> ClockItems | None:
    if tree is None:
        return None
    return ClockItems(**{"level": None, **tree, "items": tuple(tree["items"])})


def _switch(tree: _Tree | None) -> Switch | None:
    if tree is None:
        return None
    return Switch(**{"channel": 0, **tree, "states": tuple(tree["states"])})
