"""Batches (批量): one order to many meters, previewed, confirmed, watched while it goes (A21, C22, C30)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from backend.control import batch_items, batches
from backend.control.batch_items import BatchItem as ItemRow
from backend.control.batch_rules import BatchState, ItemState, LeftOut
from backend.control.batches import Batch as BatchRow
from backend.control.command_rules import CommandKind, named, worded
from backend.control.state_rules import MeterState
from backend.journeys import batch as journey
from backend.journeys.batch import Wish
from backend.journeys.batch_selection import Selection
from backend.kernel.db import UnitOfWork
from backend.metering.tags import tag_meters, tags_of_project
from backend.tenancy.project_settings import set_batch_limit
from backend.tenancy.rules import Permission

from .batch_watch import Watch
from .commands import ThresholdsInput, given_of
from .context import Info
from .loaders import batch_counts
from .meter_calendars import MeterCalendarInput
from .nodes import Node
from .paging import Connection, cut, number_key, page, project_page, size
from .problems import AnyProblem
from .resolvers import field, subscription
from .rights import mutation
from .scalars import ref, uuid_of
from .served import MeterAccount, account_as_shown
from .tariff_terms import BandPriceInput

strawberry.enum(
    BatchState,
    description="DRAFT: a preview. WAITING: for a second operator. RUNNING: from startsAt on. PAUSED. DONE."
    " CANCELLED: what was left. REFUSED by the second operator. EXPIRED before it began.",
)
strawberry.enum(
    ItemState,
    name="BatchItemState",
    description="LEFT_OUT. READY: nothing was asked yet. ASKED: its command is on its way. DONE: read back."
    " FAILED: as the note says. OVERTAKEN by somebody's newer command. CANCELLED before it was asked.",
)
strawberry.enum(LeftOut, description="Why a meter takes no part in a batch.")


@strawberry.type(description="How many meters of a batch are in a state.")
class BatchCount:
    """计数."""

    state: ItemState
    meters: int


@strawberry.type(description="A setting that is written to each meter, in words.")
class BatchSetting:
    """参数."""

    name: str
    value: str


@strawberry.type(description="A meter of a batch, or what was named and is none.")
class BatchItem:
    """批量中的一只表."""

    no: int
    serial: str
    meter: strawberry.ID | None
    state: ItemState
    left_out: LeftOut | None
    note: str | None
    command: strawberry.ID | None
    tries: int = strawberry.field(description="Commands before the present one.")
    changed_at: datetime
    meter_key: strawberry.Private[UUID | None]

    @field(description="Whom the meter serves now.")
    async def serves(self, info: Info) -> MeterAccount | None:
        """By two statements for all meters that are asked for. Raises Forbidden."""
        if self.meter_key is None:
            return None
        return await account_as_shown(info.context, self.meter_key)


def item_of(row: ItemRow) -> BatchItem:
    """An item as the schema shows it."""
    return BatchItem(
        no=row.no,
        serial=row.serial,
        meter=None if row.meter_id is None else ref("Meter", row.meter_id),
        state=row.state,
        left_out=row.left_out,
        note=row.note,
        command=None if row.command_id is None else ref("Command", row.command_id),
        tries=row.tries,
        changed_at=row.changed_at,
        meter_key=row.meter_id,
    )


@strawberry.type(description="One order to many meters.")
class Batch(Node):
    """批量."""

    key: strawberry.Private[UUID]
    asked_by_id: strawberry.Private[str]
    kind: CommandKind
    settings: list[BatchSetting]
    until: datetime | None
    reason: str
    selection: JSON = strawberry.field(description="By what its meters were chosen.")
    state: BatchState
    second: bool = strawberry.field(description="It takes a second operator.")
    asked_by: str
    asked_at: datetime
    expires_at: datetime = strawberry.field(description="Of a preview, or of one that waits.")
    confirmed_at: datetime | None
    ruled_by: str | None
    ruled_at: datetime | None
    starts_at: datetime | None = strawberry.field(description="Until then all can be called off.")
    finished_at: datetime | None
    note: str | None

    @field(description="The caller asked for it, so its second operator is somebody else.")
    async def mine(self, info: Info) -> bool:
        """Raises Unauthenticated."""
        return self.asked_by_id == info.context.caller().actor.id

    @field(description="How many meters are in each state.")
    async def counts(self, info: Info) -> list[BatchCount]:
        """By one statement for all batches that are asked for."""
        found = await batch_counts(info.context, self.key)
        return [BatchCount(state=state, meters=number) for state, number in found.items()]

    @field(description="Its meters in their order; of some states only.")
    async def items(
        self,
        info: Info,
        states: list[ItemState] | None = None,
        first: int = 50,
        after: str | None = None,
    ) -> Connection[BatchItem]:
        """A page. Raises InvalidInput."""
        limit, behind = size(first) + 1, number_key(after)
        async with info.context.work() as work:
            found = await batch_items.items_page(
                work, batch_id=self.key, states=states, after=behind, limit=limit
            )
        rows, more = cut(found, first)
        return page([item_of(row) for row in rows], more=more, key=lambda each: str(each.no))


@strawberry.type(
    description="A batch as it is now, with the meters that moved since the last time."
)
class BatchProgress:
    """进度."""

    batch: Batch
    counts: list[BatchCount]
    changed: list[BatchItem]


@strawberry.type(description="A label and on how many meters of the project it is.")
class Tag:
    """标签."""

    tag: str
    meters: int


@strawberry.type(description="Of how many meters a label was changed.")
class Tagged:
    """已标记."""

    meters: int


@strawberry.type(description="To how many meters an hour one operator may give a batch alone.")
class BatchLimit:
    """单人批量上限."""

    alone: int


@strawberry.input(description="A list of meter numbers: the text of a file, one a line or CSV.")
class MeterNumbersInput:
    """表号清单."""

    text: str


BatchResult = Annotated[Batch | AnyProblem, strawberry.union("BatchResult")]
TagMetersResult = Annotated[Tagged | AnyProblem, strawberry.union("TagMetersResult")]
BatchLimitResult = Annotated[BatchLimit | AnyProblem, strawberry.union("BatchLimitResult")]


def batch_of(row: BatchRow) -> Batch:
    """A batch as the schema shows it."""
    return Batch(
        id=ref("Batch", row.id),
        key=row.id,
        asked_by_id=row.asked_by,
        kind=row.kind,
        settings=[BatchSetting(name=named(k), value=worded(k, v)) for k, v in row.settings.items()],
        until=row.until,
        reason=row.reason,
        selection=JSON(dict(row.selection)),
        state=row.state,
        second=row.second,
        asked_by=row.asked_name,
        asked_at=row.asked_at,
        expires_at=row.expires_at,
        confirmed_at=row.confirmed_at,
        ruled_by=row.ruled_name,
        ruled_at=row.ruled_at,
        starts_at=row.starts_at,
        finished_at=row.finished_at,
        note=row.note,
    )


async def load_batch(work: UnitOfWork, info: Info, batch_id: UUID) -> Batch:
    """One batch by the operator's door. Raises NotFound."""
    return batch_of(await batches.batch(work, scope=info.context.caller(), batch_id=batch_id))


@strawberry.type
class BatchQueries:
    """Reads."""

    @field(description="The batches of a project, newest first.")
    async def batches(
        self, info: Info, project: strawberry.ID, first: int = 20, after: str | None = None
    ) -> Connection[Batch]:
        """Raises NotFound, InvalidInput."""
        rows = batches.batches_page
        return await project_page(info, project, first, after, rows=rows, node=batch_of)

    @field(description="The labels of a project's meters.")
    async def meter_tags(self, info: Info, project: strawberry.ID) -> list[Tag]:
        """Raises NotFound."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        async with info.context.work() as work:
            found = await tags_of_project(work, scope=scope, project_id=project_id)
        return [Tag(tag=tag, meters=meters) for tag, meters in found.items()]


@strawberry.type
class BatchMutations:
    """Writes. What goes to meters needs `meter:control` as well."""

    @mutation(Permission.BATCH_RUN)
    async def prepare_batch(
        self,
        info: Info,
        project: strawberry.ID,
        kind: CommandKind,
        reason: str,
        areas: list[strawberry.ID] | None = None,
        states: list[MeterState] | None = None,
        tags: list[str] | None = None,
        numbers: MeterNumbersInput | None = None,
        prices: list[BandPriceInput] | None = None,
        thresholds: ThresholdsInput | None = None,
        calendar: MeterCalendarInput | None = None,
        until: datetime | None = None,
    ) -> BatchResult:
        """Preview: who takes part, who is left out and why. Choose by area, state and tag, or by numbers."""
        wish = Wish(kind, reason, given_of(prices, thresholds, calendar), until)
        places = [uuid_of(each, "Area") for each in areas or ()]
        row = await journey.prepare_batch(
            scope=info.context.caller(),
            project_id=uuid_of(project, "Project"),
            wish=wish,
            selection=Selection(places, states or (), tags or (), _text(numbers)),
            models=info.context.ports.meter_models,
            at=info.context.now,
        )
        return batch_of(row)

    @mutation(Permission.BATCH_RUN)
    async def confirm_batch(self, info: Info, batch: strawberry.ID) -> BatchResult:
        """It is meant. It waits for a second operator where it takes one, else it begins in 60 s."""
        return await _step(info, batch, journey.confirm_batch)

    @mutation(Permission.BATCH_APPROVE)
    async def rule_batch(self, info: Info, batch: strawberry.ID, approved: bool) -> BatchResult:
        """The second operator's word. What is approved begins in 60 s."""
        scope, at, of = info.context.caller(), info.context.now, uuid_of(batch, "Batch")
        row = await journey.rule_batch(scope=scope, batch_id=of, approved=approved, at=at)
        return batch_of(row)

    @mutation(Permission.BATCH_RUN)
    async def pause_batch(self, info: Info, batch: strawberry.ID) -> BatchResult:
        """Nothing more is asked until it is resumed."""
        return await _step(info, batch, journey.pause_batch)

    @mutation(Permission.BATCH_RUN)
    async def resume_batch(self, info: Info, batch: strawberry.ID) -> BatchResult:
        """Go on with what was paused."""
        return await _step(info, batch, journey.resume_batch)

    @mutation(Permission.BATCH_RUN)
    async def cancel_batch(self, info: Info, batch: strawberry.ID) -> BatchResult:
        """Call off all that was not asked yet."""
        return await _step(info, batch, journey.cancel_batch)

    @mutation(Permission.BATCH_RUN)
    async def retry_batch(self, info: Info, batch: strawberry.ID) -> BatchResult:
        """Ask again what failed."""
        return await _step(info, batch, journey.retry_batch)

    @mutation(Permission.METER_WRITE)
    async def tag_meters(
        self, info: Info, meters: list[strawberry.ID], tag: str, on: bool = True
    ) -> TagMetersResult:
        """Put a label on meters of one project, or take it off."""
        scope, at = info.context.caller(), info.context.now
        ids = [uuid_of(each, "Meter") for each in meters]
        async with info.context.work() as work:
            changed = await tag_meters(work, scope=scope, meter_ids=ids, tag=tag, on=on, at=at)
        return Tagged(meters=changed)

    @mutation(Permission.PROJECT_WRITE)
    async def set_batch_limit(
        self, info: Info, project: strawberry.ID, alone: int
    ) -> BatchLimitResult:
        """To how many meters an hour one operator may give a batch alone."""
        scope, at, of = info.context.caller(), info.context.now, uuid_of(project, "Project")
        async with info.context.work() as work:
            row = await set_batch_limit(work, scope=scope, project_id=of, alone=alone, at=at)
        return BatchLimit(alone=row.batch_alone)


@strawberry.type
class BatchSubscriptions:
    """Live."""

    @subscription(
        description="The batch as it is now and what moved in it, then at every change, meter by meter, as"
        " long as the caller may see it; at most 500 meters at a time."
    )
    async def batch_changed(
        self, info: Info, id: strawberry.ID
    ) -> AsyncGenerator[BatchProgress, None]:
        """Authorised anew at every event. Raises Unauthenticated, NotFound."""
        watch = Watch(info, uuid_of(id, "Batch"))
        async for seen in watch.looks():
            counts = [BatchCount(state=k, meters=v) for k, v in seen.counts.items()]
            moved = [item_of(row) for row in seen.moved]
            yield BatchProgress(batch=batch_of(seen.batch), counts=counts, changed=moved)


def _text(numbers: MeterNumbersInput | None) -> str | None:
    return None if numbers is None else numbers.text


async def _step(info: Info, batch: str, act: Callable[..., Awaitable[BatchRow]]) -> Batch:
    scope, at = info.context.caller(), info.context.now
    return batch_of(await act(scope=scope, batch_id=uuid_of(batch, "Batch"), at=at))
