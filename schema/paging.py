"""Keyset connections: a page starts after a key, never at an offset; nothing is counted."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import strawberry

from backend.kernel.errors import InvalidInput

from .context import Info
from .scalars import uuid_of

MOST = 100
T = TypeVar("T")
Row = TypeVar("Row")
Listed = TypeVar("Listed", bound="Keyed")


@strawberry.type(description="Where a page ends and whether there is more.")
class PageInfo:
    """Relay's PageInfo for pages that only go forward."""

    has_next_page: bool
    end_cursor: str | None


@strawberry.type(description="An object in a page, with the cursor behind it.")
class Edge(Generic[T]):
    """One object of a page."""

    cursor: str
    node: T


@strawberry.type(description="A page: at most 100 objects. There is no total count.")
class Connection(Generic[T]):
    """A page of objects."""

    edges: list[Edge[T]]
    page_info: PageInfo


def size(first: int) -> int:
    """The page's size. Raises InvalidInput unless it is 1 to 100."""
    if not 1 <= first <= MOST:
        raise InvalidInput(f"first is 1 to {MOST}", field="first")
    return first


def cut(rows: Sequence[Row], first: int) -> tuple[list[Row], bool]:
    """The page out of first + 1 rows, and whether there is more."""
    return list(rows[:first]), len(rows) > first


def page(nodes: Sequence[T], *, more: bool, key: Callable[[T], str]) -> Connection[T]:
    """A connection over the nodes of one page; `key` is what the next page starts after."""
    edges = [Edge(cursor=cursor_of(key(node)), node=node) for node in nodes]
    last = edges[-1].cursor if edges else None
    return Connection(edges=edges, page_info=PageInfo(has_next_page=more, end_cursor=last))


class Keyed(Protocol):
    """A node of a list that is ordered by it."""

    @property
    def key(self) -> object:
        """Its place in the list."""
        ...


async def project_page(
    info: Info,
    project: strawberry.ID,
    first: int,
    after: str | None,
    *,
    rows: Callable[..., Awaitable[Sequence[Row]]],
    node: Callable[[Row], Listed],
) -> Connection[Listed]:
    """A page of what a project has, ordered by id; `rows` reads with the keywords of such a query (scope,
    project_id, before, limit). Raises NotFound, InvalidInput."""
    project_id, before = uuid_of(project, "Project"), uuid_key(after)
    scope, limit = info.context.caller(), size(first) + 1
    async with info.context.work() as work:
        found = await rows(work, scope=scope, project_id=project_id, before=before, limit=limit)
    return page_by_key(found, first, node=node)


def page_by_key(
    found: Sequence[Row], first: int, *, node: Callable[[Row], Listed]
) -> Connection[Listed]:
    """The page out of first + 1 rows, as nodes that carry their own place in the list."""
    shown, more = cut(found, first)
    return page([node(row) for row in shown], more=more, key=lambda each: str(each.key))


def cursor_of(key: str) -> str:
    """The opaque cursor of a key."""
    return base64.urlsafe_b64encode(f"after:{key}".encode()).decode()


def key_of(cursor: str | None) -> str | None:
    """The key in a cursor. Raises InvalidInput for a cursor that we did not make."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not text.startswith("after:"):
        raise InvalidInput("not a cursor of this list", field="after")
    return text.removeprefix("after:")


def uuid_key(cursor: str | None) -> UUID | None:
    """The uuid in a cursor of a list that is ordered by id. Raises InvalidInput."""
    return _converted(cursor, UUID)


def number_key(cursor: str | None) -> int | None:
    """The number in a cursor of a list that is ordered by number. Raises InvalidInput."""
    number = _converted(cursor, int)
    if number is not None and not 0 <= number < 2**63:
        raise InvalidInput("not a cursor of this list", field="after")
    return number


def _converted(cursor: str | None, convert: Callable[[str], Row]) -> Row | None:
    key = key_of(cursor)
    try:
        return None if key is None else convert(key)
    except ValueError as error:
        raise InvalidInput("not a cursor of this list", field="after") from error
