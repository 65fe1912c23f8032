"""Sweeps that begin or end at the same time share a transaction, and nothing else (C24, C26)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import asyncpg
import pytest

from backend.kernel.db import unit_of_work
from backend.kernel.errors import NotFound
from backend.metering import operations as metering
from backend.metering.models import Gateway, Meter
from backend.metering.queries import gateway_by_id
from workers.drivers.ports import MeterSnapshot
from workers.models import meter_models
from workers.round import Round
from workers.sweep import sweep_due
from workers.swept import Swept, Wanted, keep, load

from .commanded import Post
from .world import START, World, new_id


class _Heard(Round):
    """A round in which these meters showed these totals."""

    def __init__(self, **totals: int) -> None:
        super().__init__([], lambda: START)
        self._totals = totals

    def snapshots(self) -> Iterator[tuple[UUID, MeterSnapshot, datetime]]:
        """See Round."""
        for meter_id, total in self._totals.items():
            yield UUID(meter_id), MeterSnapshot(total, b""), START


async def _gateway(world: World, no: int) -> tuple[Gateway, Meter]:
    """One more gateway with a meter."""
    async with unit_of_work(world.group_id) as work:
        gateway = await metering.add_gateway(
            work,
            scope=world.scope,
            project_id=world.project.id,
            serial=f"GW-MORE-{no}",
            name="one more",
            address=f"127.0.0.1:{no}",
            at=START,
        )
        meter = await metering.add_meter(
            work,
            scope=world.scope,
            gateway=gateway,
            serial=f"MORE-{no}",
            model=meter_models()["DDSY1352-NK"],
            bus_address="1",
            at=START,
        )
    return gateway, meter


def _swept(gateway: Gateway, round_: Round, *, answered: bool = True) -> Swept:
    return Swept(gateway.id, answered, round_, lambda: START)


async def _latest(world: World) -> dict[UUID, tuple[int, str]]:
    """By meter: its total, and the transaction that wrote it."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch("SELECT meter_id, total, xmin::text AS by FROM metering_latest")
    return {row["meter_id"]: (row["total"], row["by"]) for row in rows}


async def test_sweeps_of_a_group_that_end_together_are_stored_by_one_transaction(
    worlds: tuple[World, World],
) -> None:
    made = [(world, *await _gateway(world, no)) for no in (1, 2, 3) for world in worlds]
    counts = await asyncio.gather(
        *(
            keep(world.group_id, _swept(gateway, _Heard(**{str(meter.id): no})))
            for no, (world, gateway, meter) in enumerate(made)
        )
    )
    assert counts == [1] * 6
    for index, world in enumerate(worlds):
        latest = await _latest(world)
        stored = {latest[meter.id] for _, _, meter in made[index::2]}
        assert {total for total, _ in stored} == set(range(index, 6, 2))
        assert len({by for _, by in stored}) == 1


async def test_a_sweep_that_cannot_be_stored_costs_those_beside_it_nothing(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    made = [await _gateway(ours, no) for no in (1, 2, 3)]
    foreign = _Heard(**{str(theirs.meter.id): 66})
    rounds = [_Heard(**{str(made[0][1].id): 11}), foreign, _Heard(**{str(made[2][1].id): 33})]
    ended = await asyncio.gather(
        *(
            keep(ours.group_id, _swept(gateway, round_))
            for (gateway, _), round_ in zip(made, rounds, strict=True)
        ),
        return_exceptions=True,
    )
    assert [ended[0], type(ended[1]), ended[2]] == [1, asyncpg.ForeignKeyViolationError, 1]
    latest = await _latest(ours)
    assert (latest[made[0][1].id][0], latest[made[2][1].id][0]) == (11, 33)
    assert theirs.meter.id not in await _latest(theirs)


async def test_a_gateways_silence_is_its_own_however_many_are_noted_with_it(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    (silent, _), (spoke, meter) = await _gateway(ours, 1), await _gateway(ours, 2)
    await asyncio.gather(
        keep(ours.group_id, _swept(silent, _Heard(), answered=False)),
        keep(ours.group_id, _swept(spoke, _Heard(**{str(meter.id): 1}))),
        keep(theirs.group_id, _swept(theirs.gateway, _Heard(), answered=False)),
    )
    async with unit_of_work(ours.group_id) as work:
        quiet = await gateway_by_id(work, gateway_id=silent.id)
        heard = await gateway_by_id(work, gateway_id=spoke.id)
    assert (quiet.silent_since, quiet.answered_at) == (START, None)
    assert (heard.silent_since, heard.answered_at) == (None, START)
    async with unit_of_work(theirs.group_id) as work:
        assert (await gateway_by_id(work, gateway_id=theirs.gateway.id)).silent_since == START


async def test_each_sweep_gets_the_meters_of_its_own_gateway_and_group(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    gateway, meter = await _gateway(ours, 1)
    wanted = (ours.gateway.id, gateway.id, new_id(), theirs.gateway.id, gateway.id)
    loaded = await asyncio.gather(*(load(ours.group_id, Wanted(id_, START)) for id_ in wanted))
    last = loaded[-1]
    assert last is not None
    assert loaded[1] is not None
    assert last[1] is not loaded[1][1], "one sweep would ask the meters of the other"
    assert [found and [each.id for each in found[1]] for found in loaded] == [
        [ours.meter.id],
        [meter.id],
        None,
        None,
        [meter.id],
    ]


async def test_a_sweep_of_a_gateway_that_is_not_there_is_refused(post: Post) -> None:
    with pytest.raises(NotFound):
        await sweep_due(post.context, post.world.group_id, {"gateway_id": str(new_id())})
