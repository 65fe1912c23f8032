"""Field checks of the uplink's JSON: what a value may be, and how it is read and written.

A field turns a JSON value into a Python one (`read`) and back (`write`). No float passes, no bool
passes for an integer, and what is not named is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NoReturn
from uuid import UUID

from .errors import MessageRefused

JsonValue = None | bool | int | str | list["JsonValue"] | dict[str, "JsonValue"]


def _same(value: object) -> object:
    return value


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `read` raises ValueError or TypeError; optional fields may be null, never absent."""

    read: Callable[[object], object]
    write: Callable[[object], object] = _same
    optional: bool = False


def integer(low: int, high: int, *, optional: bool = False) -> Field:
    """An integer in `low` to `high`."""

    def read(value: object) -> object:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"an integer from {low} to {high}")
        return value

    return Field(read, optional=optional)


def text(pattern: str, *, optional: bool = False) -> Field:
    """A string that matches `pattern` whole."""
    compiled = re.compile(pattern)

    def read(value: object) -> object:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise ValueError(f"a text like {pattern}")
        return value

    return Field(read, optional=optional)


def choice(kind: type[StrEnum], *, optional: bool = False) -> Field:
    """A member of `kind` by its value."""

    def read(value: object) -> object:
        if not isinstance(value, str):
            raise TypeError("a text")
        return kind(value)

    return Field(read, write=str, optional=optional)


def _read_instant(value: object) -> object:
    # 2000 to 2099: outside lies no meter of ours, and everything inside fits a datetime.
    if type(value) is not int or not 946_684_800 <= value < 4_102_444_800:
        raise ValueError("unix seconds")
    return datetime.fromtimestamp(value, UTC)


def _write_instant(value: object) -> object:
    if not isinstance(value, datetime) or value.tzinfo is None or value.microsecond:
        raise ValueError("an instant with zone, in whole seconds")
    return int(value.timestamp())


def instant(*, optional: bool = False) -> Field:
    """An instant in UTC as unix seconds."""
    return Field(_read_instant, _write_instant, optional=optional)


def _read_uuid(value: object) -> object:
    if not isinstance(value, str) or str(UUID(value)) != value:
        raise ValueError("a UUID in its usual form")
    return UUID(value)


def uuid() -> Field:
    """A UUID in lower case with dashes."""
    return Field(_read_uuid, str)


def counts(names: frozenset[str], *, high: int, low: int = 0) -> Field:
    """An object of integers from `low` to `high`, under some of `names`."""

    def read(value: object) -> object:
        if not isinstance(value, dict) or not value.keys() <= names:
            raise ValueError("an object of known names")
        if any(type(n) is not int or not low <= n <= high for n in value.values()):
            raise ValueError(f"integers from {low} to {high}")
        return dict(value)

    return Field(read)


def names(known: frozenset[str]) -> Field:
    """A set of some of `known`, written as a sorted list without repeats."""

    def read(value: object) -> object:
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise TypeError("a list of names")
        if value != sorted(set(value)) or not known.issuperset(value):
            raise ValueError("known names, sorted, each once")
        return frozenset(value)

    def write(value: object) -> object:
        if not isinstance(value, frozenset):
            raise TypeError("a frozen set of names")
        return sorted(value)

    return Field(read, write)


def record(build: Callable[..., object], fields: Mapping[str, Field]) -> Field:
    """An object of exactly `fields`, or null; `build` makes the Python value of them."""

    def read(value: object) -> object:
        if not isinstance(value, dict):
            raise TypeError("an object")
        return build(**read_fields(value, fields, where="record"))

    def write(value: object) -> object:
        return _shown({name: getattr(value, name) for name in fields}, fields)

    return Field(read, write, optional=True)


def parse(payload: bytes, *, most: int) -> dict[str, JsonValue]:
    """The JSON object in `payload`. Raises MessageRefused: longer than `most` bytes, not UTF-8, a
    float, a name twice, too deep, or not an object."""
    if len(payload) > most:
        raise MessageRefused(f"a payload of {len(payload)} bytes, {most} at most")
    try:
        value = json.loads(
            payload.decode(),
            object_pairs_hook=_once,
            parse_float=_no_float,
            parse_constant=_no_float,
        )
    except (ValueError, RecursionError) as error:
        raise MessageRefused("a payload that is not our JSON") from error
    if not isinstance(value, dict):
        raise MessageRefused("a payload that is not an object")
    return value


def read_fields(
    value: Mapping[str, JsonValue], fields: Mapping[str, Field], *, where: str
) -> dict[str, object]:
    """Every field of `fields`, read. Raises MessageRefused for a missing, unknown or wrong one."""
    if value.keys() != fields.keys():
        # Names are compared as sets and not shown: they come from outside.
        raise MessageRefused(f"{where}: fields are missing or unknown")
    return {name: _read_one(value[name], one, f"{where}.{name}") for name, one in fields.items()}


def _read_one(value: JsonValue, one: Field, where: str) -> object:
    if value is None and one.optional:
        return None
    try:
        return one.read(value)
    except (ValueError, TypeError) as error:
        raise MessageRefused(f"{where} is not what it must be") from error


def write_fields(values: Mapping[str, object], fields: Mapping[str, Field]) -> bytes:
    """Canonical JSON: sorted names, no spaces. Raises MessageRefused for a value that cannot be
    written."""
    try:
        shown = _shown(values, fields)
        return json.dumps(shown, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise MessageRefused("a message that cannot be written") from error


def _shown(values: Mapping[str, object], fields: Mapping[str, Field]) -> dict[str, object]:
    return {
        name: None if values[name] is None else one.write(values[name])
        for name, one in fields.items()
    }


def _once(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name twice")
    return value


def _no_float(_: str) -> NoReturn:
    raise ValueError("a float")
