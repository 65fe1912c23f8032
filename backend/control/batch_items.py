"""The meters of batches as rows: who takes part, what was asked of each, what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork

from .batch_rules import BECAME, ItemState, LeftOut
from .command_rules import CommandState

# So many at once are counted at once: the planner's own look at the table comes when the batch is over.
_MANY = 500


class NewItem(NamedTuple):
    """A meter of a preview, or what was named and is none (its ids are None)."""

    serial: str
    meter_id: UUID | None
    gateway_id: UUID | None
    assignment_id: UUID | None
    left_out: LeftOut | None


class BatchItem(NamedTuple):
    """A meter of a batch; `no` is its place in it. `tries`: commands before the present one."""

    batch_id: UUID
    no: int
    project_id: UUID
    serial: str
    meter_id: UUID | None
    assignment_id: UUID | None
    state: ItemState
    left_out: LeftOut | None
    note: str | None
    command_id: UUID | None
    tries: int
    changed_at: datetime


_STATES = {each.value: each for each in ItemState}
_LEFT_OUT = {None: None} | {each.value: each for each in LeftOut}


def _item_of(row: Row) -> BatchItem:
    return BatchItem(  # by place and by tables: who watches a batch sees each of thousands twice
        row["batch_id"],
        row["no"],
        row["project_id"],
        row["serial"],
        row["meter_id"],
        row["assignment_id"],
        _STATES[row["state"]],
        _LEFT_OUT[row["left_out"]],
        row["note"],
        row["command_id"],
        row["tries"],
        row["changed_at"],
    )


async def add_items(
    work: UnitOfWork, *, project_id: UUID, batch_id: UUID, items: Sequence[NewItem], at: datetime
) -> None:
    """Keep the items of a preview in their order."""
    await work.execute(
        "INSERT INTO control_batch_item (group_id, batch_id, no, project_id, serial, meter_id, gateway_id,"
        " assignment_id, state, left_out, turn, changed_at)"
        " SELECT $1, $2, n.no, $3, n.serial, n.meter_id, n.gateway_id, n.assignment_id,"
        "  CASE WHEN n.left_out IS NULL THEN 'READY' ELSE 'LEFT_OUT' END, n.left_out,"
        "  row_number() OVER (PARTITION BY n.gateway_id, n.left_out IS NULL ORDER BY n.no), $9"
        " FROM unnest($4::text[], $5::uuid[], $6::uuid[], $7::uuid[], $8::text[]) WITH ORDINALITY"
        "  AS n(serial, meter_id, gateway_id, assignment_id, left_out, no)",
        work.group_id,
        batch_id,
        project_id,
        [item.serial for item in items],
        [item.meter_id for item in items],
        [item.gateway_id for item in items],
        [item.assignment_id for item in items],
        [item.left_out for item in items],
        at,
    )
    if len(items) >= _MANY:
        await work.execute("SELECT control_count_items()")


async def count_items(
    work: UnitOfWork, *, batch_ids: Sequence[UUID]
) -> dict[UUID, dict[ItemState, int]]:
    """How many items of each batch are in each state: one statement for a page."""
    rows = await work.fetch(
        "SELECT batch_id, state, count(*)::integer AS items FROM control_batch_item"
        " WHERE group_id = $1 AND batch_id = ANY($2) GROUP BY batch_id, state",
        work.group_id,
        list(batch_ids),
    )
    found = {batch_id: dict.fromkeys(ItemState, 0) for batch_id in batch_ids}
    for row in rows:
        found[row["batch_id"]][ItemState(row["state"])] = row["items"]
    return found


async def any_left(work: UnitOfWork, *, batch_id: UUID) -> dict[ItemState, bool]:
    """Whether any item waits (READY) or is on its way (ASKED): what can be told without counting all."""
    row = await work.fetchrow(
        "SELECT EXISTS (SELECT FROM control_batch_item WHERE group_id = $1 AND batch_id = $2"
        "   AND state = 'READY') AS ready,"
        "  EXISTS (SELECT FROM control_batch_item WHERE group_id = $1 AND batch_id = $2"
        "   AND state = 'ASKED') AS asked",
        work.group_id,
        batch_id,
    )
    assert row is not None
    return {ItemState.READY: row["ready"], ItemState.ASKED: row["asked"]}


async def items_page(
    work: UnitOfWork,
    *,
    batch_id: UUID,
    states: Sequence[ItemState] | None,
    after: int | None,
    limit: int,
) -> list[BatchItem]:
    """Items of a batch in their order, those behind `after`; `states`: only those in one of them. The caller
    has come through the batch's door."""
    rows = await work.fetch(
        "SELECT * FROM control_batch_item WHERE group_id = $1 AND batch_id = $2 AND no > $3"
        " AND ($4::text[] IS NULL OR state = ANY($4)) ORDER BY no LIMIT $5",
        work.group_id,
        batch_id,
        after or 0,
        None if states is None else list(states),
        limit,
    )
    return [_item_of(row) for row in rows]


async def items_moved(
    work: UnitOfWork, *, batch_id: UUID, since: datetime | None
) -> list[BatchItem]:
    """Items of which something was asked, or that will not be asked any more, and that moved `since` then
    (None: at any time), in their order. Whoever moves items holds their batch and moves its time only
    forward (`batches.now_in`), so what comes later moved at the same time or later."""
    rows = await work.fetch(
        "SELECT * FROM control_batch_item WHERE group_id = $1 AND batch_id = $2"
        " AND state <> 'LEFT_OUT' AND (state <> 'READY' OR tries > 0)"
        " AND ($3::timestamptz IS NULL OR changed_at >= $3) ORDER BY no",
        work.group_id,
        batch_id,
        since,
    )
    return [_item_of(row) for row in rows]


async def next_up(
    work: UnitOfWork,
    *,
    batch_id: UUID,
    project_id: UUID,
    at_a_gateway: int,
    in_a_project: int,
    together: int,
    limit: int,
) -> list[int]:
    """The places of the items that may be asked now, at most `limit`: as many as keep the commands of batches
    that are on their way within so many at each gateway and in the project. A gateway is given as many
    `together` as are served in one go, or none; one that is idle gets half as many before any other gets
    its next, one that has no more than one go on its way gets half as many too, so that all have something
    to do before any has much; and those come first of which the fewest were asked.

    It looks at as many of the next as may be on their way at all, so a round's cost does not grow with
    the batch; where many of these share a gateway it gives fewer, and the next round the others.
    """
    rows = await work.fetch(
        # Who is on the way has the first places at its gateway. No join of what waits with what flies: a
        # batch is so new that the planner takes it for a few rows, and would walk one for each of the other.
        "WITH flying AS MATERIALIZED (SELECT no, gateway_id, (project_id = $3)::integer AS ours"
        "   FROM control_batch_item WHERE group_id = $1 AND state = 'ASKED'),"
        " busy AS (SELECT gateway_id FROM flying GROUP BY gateway_id"
        "   HAVING count(*) > $4::integer - $7::integer),"
        " waiting AS (SELECT no, gateway_id, turn FROM control_batch_item"
        "   WHERE group_id = $1 AND batch_id = $2 AND state = 'READY'"
        "   AND gateway_id NOT IN (SELECT gateway_id FROM busy) ORDER BY turn, no LIMIT $5),"
        " pool AS (SELECT no, gateway_id, 0 AS turn, ours FROM flying"
        "  UNION ALL SELECT no, gateway_id, turn, 0 FROM waiting),"
        " counted AS (SELECT no, gateway_id, turn, sum(ours) OVER () AS aloft,"
        "   row_number() OVER its AS place, count(*) FILTER (WHERE turn = 0) OVER (its"
        "    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS there"
        "   FROM pool WINDOW its AS (PARTITION BY gateway_id ORDER BY turn)),"
        " placed AS (SELECT no, gateway_id, turn, aloft, place - there AS nth,"
        "   CASE WHEN there <= $7 THEN greatest($7 / 2, 1) ELSE $7 END AS first, there"
        "  FROM counted WHERE turn > 0),"
        " seated AS (SELECT no, aloft, row_number() OVER (ORDER BY"
        "    (nth - 1 + $7 - first) / $7 + (there > 0)::integer, turn - nth, gateway_id, turn) AS seat"
        "   FROM placed WHERE nth <= first % $7 + ($4 - there - first % $7) / $7 * $7)"
        " SELECT no FROM seated WHERE seat <= least($6::bigint, $5 - aloft) ORDER BY seat",
        work.group_id,
        batch_id,
        project_id,
        at_a_gateway,
        in_a_project,
        limit,
        together,
    )
    return [row["no"] for row in rows]


async def lock_ready(work: UnitOfWork, *, batch_id: UUID, places: Sequence[int]) -> list[BatchItem]:
    """Those of the items at these places that nobody asked yet, locked until commit."""
    rows = await work.fetch(
        "SELECT * FROM control_batch_item WHERE group_id = $1 AND batch_id = $2 AND no = ANY($3)"
        " AND state = 'READY' ORDER BY no FOR UPDATE",
        work.group_id,
        batch_id,
        list(places),
    )
    return [_item_of(row) for row in rows]


async def mark_asked(
    work: UnitOfWork, *, batch_id: UUID, commands: Mapping[int, UUID], at: datetime
) -> None:
    """Commands (by the places of their meters) are on their way."""
    await work.execute(
        "UPDATE control_batch_item SET state = 'ASKED', note = NULL, changed_at = $5,"
        " command_id = ($4::uuid[])[array_position($3::integer[], no)]"
        " WHERE group_id = $1 AND batch_id = $2 AND no = ANY($3)",
        work.group_id,
        batch_id,
        list(commands),
        list(commands.values()),
        at,
    )


async def mark_failed(
    work: UnitOfWork, *, batch_id: UUID, notes: Mapping[int, str], at: datetime
) -> None:
    """Nothing could be asked of the meters at these places, each with why."""
    await work.execute(
        "UPDATE control_batch_item SET state = 'FAILED', changed_at = $5,"
        " note = ($4::text[])[array_position($3::integer[], no)]"
        " WHERE group_id = $1 AND batch_id = $2 AND no = ANY($3)",
        work.group_id,
        batch_id,
        list(notes),
        list(notes.values()),
        at,
    )


async def settle_items(work: UnitOfWork, *, batch_id: UUID, at: datetime) -> int:
    """Take over what became of commands that ended; how many did. The caller holds the batch."""
    return await work.execute(
        # OFFSET: command by command by its key. A planner that knows no commands yet compares each that is on
        # its way with each: seen half a second for the first thousand.
        "WITH ended AS MATERIALIZED (SELECT i.no, c.state, c.outcome FROM control_batch_item i"
        "   CROSS JOIN LATERAL (SELECT state, outcome FROM control_command"
        "    WHERE group_id = $1 AND id = i.command_id OFFSET 0) c"
        "   WHERE i.group_id = $1 AND i.batch_id = $2 AND i.state = 'ASKED' AND c.state = ANY($4))"
        " UPDATE control_batch_item i SET note = e.outcome, changed_at = $3,"
        "  state = ($5::text[])[array_position($4::text[], e.state)]"
        " FROM ended e WHERE i.group_id = $1 AND i.batch_id = $2 AND i.no = e.no",
        work.group_id,
        batch_id,
        at,
        [CommandState(state) for state in BECAME],
        list(BECAME.values()),
    )


async def cancel_ready(work: UnitOfWork, *, batch_id: UUID, note: str | None, at: datetime) -> int:
    """Nothing will be asked of what is left; how many were. The caller holds the batch."""
    return await work.execute(
        "UPDATE control_batch_item SET state = 'CANCELLED', note = $3, changed_at = $4"
        " WHERE group_id = $1 AND batch_id = $2 AND state = 'READY'",
        work.group_id,
        batch_id,
        note,
        at,
    )


async def retry_failed(work: UnitOfWork, *, batch_id: UUID, at: datetime) -> int:
    """What failed is to be asked again; how many did. The caller holds the batch."""
    return await work.execute(
        "UPDATE control_batch_item SET state = 'READY', command_id = NULL, tries = tries + 1,"
        " changed_at = $3 WHERE group_id = $1 AND batch_id = $2 AND state = 'FAILED'",
        work.group_id,
        batch_id,
        at,
    )
