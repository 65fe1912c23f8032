"""What a schema cannot say of a DL/T 645 profile: identifiers that must be in the standard's table, units
and kinds that must fit, parts that need each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from workers.protocols.dlt645_frame import Edition
from workers.protocols.dlt645_items import Kind, layout

from .dlt645_map import THRESHOLDS, edition_of, form_of, layout_of, unit_of

_Tree = dict[str, Any]


def contradictions(tree: _Tree) -> Iterator[str]:
    """Each fault as `key: reason`. The schema has passed `tree`."""
    edition = edition_of(tree)
    yield from _items(tree, edition)
    if "status" in tree:
        yield from _kind("status.di", tree["status"]["di"], edition, Kind.STATUS)
    if "clock" in tree:
        yield from _clock(tree["clock"]["items"], edition)
    if "money" in tree:
        yield from _money(tree["money"], edition)
    yield from _sale(tree)
    for name in THRESHOLDS:
        if name in tree.get("thresholds", {}):
            yield from _unit(f"thresholds.{name}", tree["thresholds"][name], edition, "CNY")
    if "prices" in tree:
        yield from _prices(tree, edition)
    if "calendar" in tree:
        yield from _calendar(tree, edition)
    levels = [entry["level"] for entry in tree.get("passwords", [])]
    for index, level in enumerate(levels):
        if level in levels[:index]:
            yield f"passwords[{index}].level: {level} is there twice"


def _items(tree: _Tree, edition: Edition) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(tree["items"]):
        key, di, targets = f"items[{index}]", item["di"], item["targets"]
        what = layout_of(di, len(targets), form_of(item.get("format"), di), edition)
        if what is None:
            yield f"{key}.di: {di} is not in the table of DL/T 645-{edition}: say its format"
            continue
        if what.row.kind is not Kind.NUMBER:
            yield f"{key}.di: {di} is no number"
            continue
        if len(targets) > what.most:
            yield f"{key}.targets: {len(targets)} targets, {di} has {what.most} at the most"
        for target in filter(None, targets):
            if target in seen:
                yield f"{key}.targets: {target} is there twice"
            seen.add(target)
            if what.row.unit != unit_of(target)[0]:
                yield f"{key}.targets: {target} is no number of {what.row.unit or 'no unit'} ({di})"
    if "total" not in seen:
        yield "items: total is missing"
    for index, item in enumerate(tree["items"]):
        if item["optional"] and "total" in item["targets"]:
            yield f"items[{index}].optional: a meter without total is no meter"


def _money(money: _Tree, edition: Edition) -> Iterator[str]:
    yield from _unit("money.remaining", money["remaining"], edition, "CNY")
    if "overdraft" in money:
        yield from _unit("money.overdraft", money["overdraft"], edition, "CNY")
    if "purchase_count" in money:
        yield from _unit("money.purchase_count", money["purchase_count"], edition, "times")


def _sale(tree: _Tree) -> Iterator[str]:
    if "credit" not in tree:
        return
    if "money" not in tree:
        yield "credit: a meter that is sold to needs [money], or no sale can be read back"
    elif tree["money"]["optional"]:
        yield "money.optional: a meter that is sold to has money to show"


def _clock(items: list[str], edition: Edition) -> Iterator[str]:
    kinds = [_kind_of(di, edition) for di in items]
    if kinds not in ([Kind.DATE_TIME], [Kind.DATE, Kind.TIME]):
        yield "clock.items: one item of date and time, or a date and then a time"


def _prices(tree: _Tree, edition: Edition) -> Iterator[str]:
    prices = tree["prices"]
    if "rates" not in tree:
        yield "prices: the bands of the rates are missing (rates)"
    for name in ("current", "spare"):
        if name in prices:
            yield from _unit(f"prices.{name}", f"{prices[name]}FF", edition, "CNY/kWh")
    if ("spare" in prices) != ("switch_moment" in prices):
        yield "prices: spare and switch_moment go together"
    if "switch_moment" in prices:
        yield from _kind("prices.switch_moment", prices["switch_moment"], edition, Kind.MOMENT)
        if not prices.get("lead_minutes"):
            yield "prices.lead_minutes: a switch moment lies at least a minute ahead"


def _calendar(tree: _Tree, edition: Edition) -> Iterator[str]:
    calendar = tree["calendar"]
    if "rates" not in tree:
        yield "calendar: the bands of the rates are missing (rates)"
    yield from _kind("calendar.zones", calendar["zones"], edition, Kind.ZONES)
    yield from _kind("calendar.tables", f"{calendar['tables']}01", edition, Kind.SLOTS)
    for name in ("zone_count", "table_count", "slot_count"):
        yield from _kind(f"calendar.{name}", calendar[name], edition, Kind.NUMBER)


def _kind_of(di: str, edition: Edition) -> Kind | None:
    what = layout(di, edition=edition)
    return None if what is None else what.row.kind


def _kind(key: str, di: str, edition: Edition, kind: Kind) -> Iterator[str]:
    if _kind_of(di, edition) is not kind:
        yield f"{key}: {di} is no {kind} in the table of DL/T 645-{edition}"


def _unit(key: str, di: str, edition: Edition, unit: str) -> Iterator[str]:
    what = layout(di, edition=edition)
    if what is None or what.row.kind is not Kind.NUMBER or what.row.unit != unit:
        yield f"{key}: {di} is no number of {unit} in the table of DL/T 645-{edition}"
