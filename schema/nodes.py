"""The interface of everything that has an opaque id."""

from __future__ import annotations

import strawberry


@strawberry.interface(description="An object with an opaque id of its own.")
class Node:
    """Relay's Node."""

    id: strawberry.ID
