"""The list of a project's meters that operators page through, filter and search (A21)."""

from __future__ import annotations

from functools import partial

import strawberry

from backend.control.state_rules import MeterState
from backend.journeys.meter_choice import Choice, page_of_meters
from backend.metering.queries import latest_of_meters, meters_with_gateways

from .context import Info
from .meters import Meter, meter_of
from .paging import Connection, cut, key_of, page, size
from .resolvers import field
from .scalars import uuid_of


@strawberry.type
class MeterListQueries:
    """Reads."""

    @field(
        description="Meters of a project by serial: of some areas (with all below), states and tags, or found"
        " by letters of the serial or account's name, or its whole number."
    )
    async def meters(
        self,
        info: Info,
        project: strawberry.ID,
        areas: list[strawberry.ID] | None = None,
        states: list[MeterState] | None = None,
        tags: list[str] | None = None,
        search: str = "",
        first: int = 50,
        after: str | None = None,
    ) -> Connection[Meter]:
        """A page. Raises NotFound, Forbidden, InvalidInput."""
        places = [uuid_of(each, "Area") for each in areas or ()]
        choice = Choice(places, states or (), tags or (), search)
        asked = partial(page_of_meters, choice=choice, after=key_of(after), limit=size(first) + 1)
        scope, of = info.context.caller(), uuid_of(project, "Project")
        async with info.context.work() as work:
            ids, more = cut(await asked(work, scope=scope, project_id=of), first)
            rows = await meters_with_gateways(work, meter_ids=ids)
            latest = await latest_of_meters(work, meter_ids=ids)
        nodes = [meter_of(*rows[each], latest) for each in ids]
        return page(nodes, more=more, key=lambda node: node.serial)
