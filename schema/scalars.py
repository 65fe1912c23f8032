"""Scalars and ids: money and measures as decimal strings, instants with zone, opaque ids."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import Any, NewType
from uuid import UUID

import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

from backend.kernel.clock import utc
from backend.kernel.errors import InvalidInput, NotFound
from backend.kernel.money import Money

DecimalText = NewType("DecimalText", str)
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


def thousandths(value: int) -> DecimalText:
    """Wh as kWh, mV as V, mA as A: three decimals, exact."""
    whole, rest = divmod(abs(value), 1000)
    return DecimalText(f"{'-' if value < 0 else ''}{whole}.{rest:03d}")


def clock_of(minute: int) -> str:
    """A minute of the day as HH:MM."""
    hour, rest = divmod(minute, 60)
    return f"{hour:02d}:{rest:02d}"


def minute_of(text: str, field: str) -> int:
    """The minute of the day that HH:MM is. Raises InvalidInput."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise InvalidInput("a time of day is HH:MM", field=field)
    return 60 * int(match[1]) + int(match[2])


def ref(kind: str, id_: UUID, /) -> strawberry.ID:
    """The opaque id of an object: its type's name and its uuid, as Relay has it."""
    return strawberry.ID(base64.b64encode(f"{kind}:{id_}".encode()).decode())


def split_ref(text: str, /) -> tuple[str, UUID]:
    """(type name, uuid) of an opaque id. Raises NotFound for anything else (C29)."""
    try:
        kind, _, id_ = base64.b64decode(text.encode(), validate=True).decode().partition(":")
        return kind, UUID(id_)
    except (binascii.Error, ValueError) as error:
        raise NotFound("no such object") from error


def uuid_of(text: str, kind: str, /) -> UUID:
    """The uuid in an opaque id of that type.

    Raises NotFound with the words that a missing object gets, so that a malformed id, one of another
    type and one of another tenant cannot be told apart (C29).
    """
    missing = NotFound(f"no such {_WORDS.get(kind, kind.lower())}")
    try:
        found, id_ = split_ref(text)
    except NotFound:
        raise missing from None
    if found != kind:
        raise missing
    return id_


_WORDS = {
    "BillDay": "bill day",
    "BillItem": "bill item",
    "CreditClass": "credit class",
    "LoadGuard": "load guard",
    "MeterProof": "meter proof",
    "TariffVersion": "tariff version",
    "TariffChange": "tariff change",
    "TopUp": "top-up",
}


def _money_in(value: Any) -> Money:
    if not isinstance(value, str):
        raise GraphQLError('Money is a decimal string of yuan such as "50.00"')
    try:
        return Money.parse(value)
    except ValueError as error:
        raise GraphQLError('Money is a decimal string of yuan such as "50.00"') from error


def _instant_in(value: Any) -> datetime:
    try:
        return utc(datetime.fromisoformat(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise GraphQLError("DateTime is ISO 8601 with a zone") from error


def _text_in(value: Any) -> str:
    if not isinstance(value, str):
        raise GraphQLError("Decimal is a decimal string")
    return value


SCALARS: dict[object, ScalarDefinition] = {
    Money: strawberry.scalar(
        name="Money",
        description='Yuan as a decimal string with two to four decimals, such as "50.00".',
        serialize=str,
        parse_value=_money_in,
    ),
    DecimalText: strawberry.scalar(
        name="Decimal",
        description="An exact decimal number as a string.",
        serialize=str,
        parse_value=_text_in,
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description="An instant, ISO 8601 with a zone.",
        serialize=datetime.isoformat,
        parse_value=_instant_in,
    ),
}
