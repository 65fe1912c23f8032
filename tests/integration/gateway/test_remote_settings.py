"""Prices, thresholds, load limits and the clock of a meter, set from the cloud over the sealed uplink."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta

import pytest

from backend.kernel.band_calendar import Calendar, DaySlot, YearZone
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.money import Money
from backend.uplink.message import CALENDAR_VERSION, SETTINGS_VERSION, Cmd, Dar, Op, Res, encode
from workers.drivers.ports import LoadLimits, Thresholds
from workers.gateway.database import Database
from workers.gateway.journal import Journal
from workers.links.errors import LinkDown, NoAnswer
from workers.links.remote import RemoteMeter
from workers.protocols import modbus
from workers.virtual import rtu

from .conftest import Box, World
from .simulated_time import TrueClock
from .test_remote_meter import remote

FACTORY = {"spike": 6_000, "peak": 6_000, "flat": 6_000, "valley": 6_000}
NEW = {"spike": 12_000, "peak": 9_876, "flat": 6_000, "valley": 3_000}
HOURS = Calendar(
    (YearZone(1, 1, 1), YearZone(7, 1, 2)),
    (
        (DaySlot(0, "valley"), DaySlot(480, "peak"), DaySlot(1320, "valley")),
        (DaySlot(0, "valley"), DaySlot(480, "peak"), DaySlot(840, "spike")),
    ),
)
ROOM = LoadLimits(
    on=True, most_w=3_000, step_w=800, factor_permille=950, trips=3, restore_minutes=10
)


def prices_in(box: Box, unit: int = 1) -> tuple[int, ...]:
    """By the meter's own memory."""
    return box.meter(unit).state().settings.prices


def writes_of(box: Box, unit: int = 1) -> list[bytes]:
    """Every write that the meter hears from now on."""
    heard: list[bytes] = []
    meter = box.meter(unit)
    answer = meter.answer

    async def hear(request: bytes, /) -> bytes | None:
        if rtu.RTU.writes(request):
            heard.append(request)
        return await answer(request)

    vars(meter)["answer"] = hear  # an ear at the meter, not another meter
    return heard


async def test_prices_are_read_written_and_read_back_through_the_line(world: World) -> None:
    box = await world.running()
    meter = remote(box)
    assert dict(await meter.prices()) == FACTORY
    await meter.write_prices(NEW)
    assert dict(await meter.prices()) == NEW
    assert prices_in(box) == tuple(NEW.values())
    assert prices_in(box, 2) == tuple(FACTORY.values()), "the meter beside it"


async def test_the_answer_to_a_setting_says_what_the_meter_holds_after_it(world: World) -> None:
    box = await world.running()
    res = await box.ask(Op.SET_PRICES, settings=NEW)
    assert (res.dar, res.settings) == (Dar.SUCCESS, NEW)
    box.meter().faults.drop_write_answers = 1
    lost = await box.ask(Op.SET_PRICES, settings={"peak": 5_000})
    assert (lost.dar, lost.settings) == (Dar.NO_ANSWER, NEW | {"peak": 5_000})


async def test_thresholds_are_set_by_name_and_the_others_stay(world: World) -> None:
    box = await world.running()
    meter = remote(box)
    before = await meter.thresholds()
    wanted = Thresholds(alarm1=Money.parse("15.00"), overload_w=4_400)
    await meter.write_thresholds(wanted)
    after = await meter.thresholds()
    assert after == replace(before, alarm1=wanted.alarm1, overload_w=4_400)
    assert after != before


async def test_load_limits_are_set_and_switched_off(world: World) -> None:
    box = await world.running()
    meter = remote(box)
    await meter.write_load_limits(ROOM)
    assert await meter.load_limits() == ROOM
    await meter.write_load_limits(None)
    assert await meter.load_limits() == replace(ROOM, on=False)


async def test_a_calendar_is_written_and_read_back_and_the_meter_beside_it_stays(
    world: World,
) -> None:
    box = await world.running()
    meter = remote(box)
    assert await meter.calendar() == Calendar((), ())
    await meter.write_calendar(HOURS)
    assert await meter.calendar() == HOURS
    assert len(box.meter().state().settings.tables) == 2
    assert box.meter(2).state().settings.tables == ()


async def test_a_meter_that_holds_no_calendar_but_noise_is_told_to_hold_none_and_is_written(
    world: World,
) -> None:
    box = await world.running()
    noise = modbus.write_registers(unit=1, address=0x2000, values=[0xFFFF] * 6)
    assert await box.meter().answer(noise.request) is not None
    meter = remote(box)
    assert await meter.calendar() == Calendar((), ())
    await meter.write_calendar(HOURS)
    assert await meter.calendar() == HOURS


async def test_the_clock_is_set_to_the_gateways_time_when_its_bus_is_free(world: World) -> None:
    box = await world.running()
    asked_at = world.pace.true_now()
    async with AsyncExitStack() as busy:
        await box.holding(busy)
        cmd = box.cmd(Op.SET_CLOCK, life_s=600)
        await world.cloud.send(box.keys.gateway, cmd)
        await box.taken(cmd)
        world.pace.advance(timedelta(seconds=90))
    res = await box.answer_to(cmd)
    assert res.dar == Dar.SUCCESS
    assert res.reading is not None
    assert res.reading.meter_time == asked_at + timedelta(seconds=90)


async def test_a_gateway_whose_clock_is_wrong_sets_none(world: World) -> None:
    box = await world.box()
    world.pace.jump(timedelta(seconds=100))
    await box.start()
    await box.connected()
    await box.swept()
    heard = writes_of(box)
    with pytest.raises(Conflict, match="turn on NTP"):
        await remote(box).write_clock(world.pace.true_now())
    await remote(box).write_prices(NEW)  # which need no clock
    assert len(heard) == 1


async def test_the_same_setting_twice_is_written_once(world: World) -> None:
    box = await world.running()
    heard = writes_of(box)
    cmd = box.cmd(Op.SET_PRICES, settings=NEW)
    first = await world.cloud.command(box.keys.gateway, cmd)
    again = await world.cloud.command(box.keys.gateway, cmd)
    assert (first.dar, len(heard)) == (Dar.SUCCESS, 1)
    assert again == first
    forged = replace(cmd, settings={"peak": 1})
    assert (await world.cloud.command(box.keys.gateway, forged)).dar == Dar.REFUSED
    assert prices_in(box) == tuple(NEW.values())


async def test_a_setting_whose_time_is_over_is_not_written(world: World) -> None:
    box = await world.running()
    heard = writes_of(box)
    long_ago = world.pace.true_now() - timedelta(minutes=20)
    late = box.cmd_at(long_ago, Op.SET_PRICES, life_s=600, settings=NEW)
    assert (await world.cloud.command(box.keys.gateway, late)).dar == Dar.TIME_TAG
    assert heard == []


@pytest.mark.parametrize(
    ("op", "first", "last"),
    [
        (Op.SET_PRICES, {"peak": 1_000}, {"peak": 2_000}),
        (Op.SET_CALENDAR, {"zone1": 1_01_01, "table1_1": 1}, {"zone1": 1_01_01, "table1_1": 4}),
    ],
)
async def test_an_older_setting_gives_way_to_a_newer_of_its_kind_alone(
    op: Op, first: dict[str, int], last: dict[str, int], world: World
) -> None:
    box = await world.running()
    now = world.pace.true_now()
    older = box.cmd_at(now, op, settings=first)
    other = box.cmd_at(now, Op.SET_THRESHOLDS, settings={"overload_w": 4_400})
    newer = box.cmd_at(now, op, settings=last)
    async with AsyncExitStack() as busy:
        await box.holding(busy)
        for cmd in (older, other, newer):
            await world.cloud.send(box.keys.gateway, cmd)
            await box.taken(cmd)
    answers = [await box.answer_to(cmd) for cmd in (older, other, newer)]
    assert [res.dar for res in answers] == [Dar.SUPERSEDED, Dar.SUCCESS, Dar.SUCCESS]
    assert last.items() <= (answers[-1].settings or {}).items()


async def test_a_setting_that_a_crash_cut_off_is_finished_unless_a_newer_one_is_there(
    world: World,
) -> None:
    box = await world.box()
    old = box.cmd(Op.SET_PRICES, settings={"peak": 1_000})
    new = box.cmd(Op.SET_PRICES, settings={"peak": 2_000})
    cut = box.cmd(Op.SET_THRESHOLDS, settings={"overload_w": 4_400})
    database = Database(box.data, most_bytes=1 << 24)
    journal = Journal(database)
    for cmd in (old, new, cut):
        await journal.take(cmd, at=world.pace.now())
        await journal.start(cmd.cmd_id)
    await journal.finish(Res(new.cmd_id, Dar.SUCCESS))
    database.close()
    await box.start()
    await box.connected()
    assert (await box.answer_to(old)).dar == Dar.NO_ANSWER, "nobody knows whether it came so far"
    assert (await box.answer_to(cut)).dar == Dar.SUCCESS
    assert prices_in(box)[1] == FACTORY["peak"]
    assert (await remote(box).thresholds()).overload_w == 4_400


async def test_far_refusals_of_settings_mean_what_near_ones_mean(world: World) -> None:
    box = await world.running()
    meter = remote(box)
    heard = writes_of(box)
    for wrong in ({"deep": 1}, {"peak": -1}, {"noon": 1}, {"peak": 10**13}, {}):
        with pytest.raises(InvalidInput):
            await meter.write_prices(wrong)
    with pytest.raises(Conflict):
        await remote(box, serial="230000000077").prices()
    for calendar in (replace(HOURS, zones=()), Calendar(HOURS.zones, ((DaySlot(0, "deep"),),))):
        with pytest.raises(InvalidInput):
            await meter.write_calendar(calendar)
    box.meter().faults.silent = True
    with pytest.raises(NoAnswer):
        await meter.prices()
    with pytest.raises(NoAnswer):
        await meter.write_prices(NEW)
    await box.buses[0].set_offline(True)
    with pytest.raises(LinkDown):
        await meter.write_prices(NEW)
    assert heard == []


async def test_a_gateway_of_an_older_version_refuses_clearly_and_is_sent_nothing_it_cannot_read(
    world: World,
) -> None:
    asked: list[Op] = []

    async def old_version(cmd: Cmd) -> Res:
        """As gateways were before settings: TARIFF is known and not supported, all else unheard of."""
        asked.append(cmd.op)
        assert b"settings" not in encode(cmd)[1]
        return Res(cmd.cmd_id, Dar.NOT_SUPPORTED if cmd.op is Op.TARIFF else Dar.NO_ANSWER)

    meter = RemoteMeter(
        model="DDSY1352-NK", serial="1", command=old_version, clock=TrueClock(world.pace)
    )
    for attempt in (meter.prices(), meter.write_prices(NEW), meter.write_load_limits(None)):
        with pytest.raises(Conflict, match="too old to carry settings: update it; nothing was"):
            await attempt
    assert asked == [Op.TARIFF] * 3


async def test_a_gateway_says_which_settings_it_knows_without_asking_a_meter(world: World) -> None:
    box = await world.running()
    box.meter().faults.silent = True
    known = [
        (await box.ask(Op.TARIFF, tariff_ver=version)).dar
        for version in (SETTINGS_VERSION, CALENDAR_VERSION, CALENDAR_VERSION + 1)
    ]
    assert known == [Dar.SUCCESS, Dar.SUCCESS, Dar.NOT_SUPPORTED]


async def test_a_gateway_that_knows_prices_but_no_calendars_is_sent_none(world: World) -> None:
    box = await world.running()
    asked: list[Op] = []

    async def prices_only(cmd: Cmd) -> Res:
        """As gateways were when settings came: what came later is unheard of."""
        asked.append(cmd.op)
        assert cmd.op not in (Op.CALENDAR, Op.SET_CALENDAR)
        if cmd.op is Op.TARIFF and cmd.tariff_ver != SETTINGS_VERSION:
            return Res(cmd.cmd_id, Dar.NOT_SUPPORTED)
        return await world.cloud.command(box.keys.gateway, cmd)

    meter = RemoteMeter(
        model="DDSY1352-NK", serial="230000000001", command=prices_only, clock=TrueClock(world.pace)
    )
    assert dict(await meter.prices()) == FACTORY
    for attempt in (meter.calendar(), meter.write_calendar(HOURS)):
        with pytest.raises(Conflict, match="too old to carry a calendar: update it; nothing was"):
            await attempt
    assert dict(await meter.prices()) == FACTORY
    assert asked == [Op.TARIFF, Op.PRICES, Op.TARIFF, Op.TARIFF, Op.PRICES]
