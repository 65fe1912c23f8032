"""Every mutation names its permission, or says why it needs none (C30)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import strawberry
from strawberry.extensions import FieldExtension

from backend.kernel.errors import Forbidden, InvalidInput
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .context import Info
from .resolvers import Resolver

_LONGEST = 200
# A bundle of root certificates has four of them, about 6,000 characters.
_LONG = 16_000


class _Checked(FieldExtension):
    """Before the resolver: is anybody there, may they do this anywhere (`of_group`: in the whole group), is
    the text of a sane length.

    The object's own project is checked by the operation; this first look keeps callers without the
    permission from learning anything by trying.
    """

    def __init__(
        self, permission: Permission | None, long: frozenset[str], *, of_group: bool = False
    ) -> None:
        self._permission = permission
        self._long = long
        self._of_group = of_group

    async def resolve_async(
        self, next_: Callable[..., Any], source: Any, info: Info, **kwargs: Any
    ) -> Any:
        """Check, then go on. Raises Unauthenticated, Forbidden, InvalidInput."""
        if self._permission is not None:
            require = Scope.require if self._of_group else _require_somewhere
            require(info.context.caller(), self._permission)
        for name, value in kwargs.items():
            longest = _LONG if name in self._long else _LONGEST
            if isinstance(value, str) and len(value) > longest:
                raise InvalidInput(f"{name} is longer than {longest} characters", field=name)
        return await next_(source, info, **kwargs)


def _require_somewhere(scope: Scope, permission: Permission) -> None:
    granted = scope.projects(permission)
    if granted is not None and not granted:
        raise Forbidden(f"this needs the permission {permission}")


def mutation(
    permission: Permission, *, long: frozenset[str] = frozenset(), of_group: bool = False
) -> Callable[[Resolver], Resolver]:
    """A mutation for operators who hold `permission`, `of_group`: in the whole group; `long` names arguments
    of up to 16,000 characters."""
    where = " in the whole group" if of_group else ""
    made = strawberry.mutation(
        description=f"Needs the permission `{permission}`{where}.",
        metadata={"permission": permission},
        extensions=[_Checked(permission, long, of_group=of_group)],
    )
    return cast("Callable[[Resolver], Resolver]", made)


def open_mutation(*, why: str) -> Callable[[Resolver], Resolver]:
    """A mutation without a permission; `why` says what protects it instead."""
    made = strawberry.mutation(
        description=f"Needs no permission: {why}.",
        metadata={"permission": None, "why": why},
        extensions=[_Checked(None, frozenset())],
    )
    return cast("Callable[[Resolver], Resolver]", made)
