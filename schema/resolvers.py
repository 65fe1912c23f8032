"""Strawberry's decorators with types: what they decorate stays what it is to the type checker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import strawberry

Resolver = TypeVar("Resolver", bound=Callable[..., object])


def field(*, description: str) -> Callable[[Resolver], Resolver]:
    """A field with a resolver."""
    return cast("Callable[[Resolver], Resolver]", strawberry.field(description=description))


def subscription(*, description: str) -> Callable[[Resolver], Resolver]:
    """A subscription: an async generator."""
    made = strawberry.subscription(description=description)
    return cast("Callable[[Resolver], Resolver]", made)
