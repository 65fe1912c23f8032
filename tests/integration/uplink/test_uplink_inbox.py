"""What gateways say, in PostgreSQL: two groups, the same serials in both."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from backend.alerts.queries import Case
from backend.control.queries import vends_waiting_of_meters
from backend.control.safety_trips import own_cuts
from backend.control.supply_rules import OwnCut
from backend.enrolment.queries import RingRow
from backend.kernel.clock import Period
from backend.kernel.db import unit_of_work
from backend.metering import operations as metering
from backend.metering.models import Gateway, Meter
from backend.metering.queries import gateway_by_id, latest_of_meters, recent_readings
from backend.metering.readings import Reading
from backend.sandbox.embedded.services import EmbeddedServices
from backend.uplink.keys import new_gateway
from backend.uplink.message import Alarm, Ping, Read, RelayState
from backend.uplink.rotation import KeyRing
from tests.integration.sealed import cases_of, desk_at, enrolled, make_sealed, row_of
from tests.integration.test_vend_steps import sold
from tests.integration.world import START, World
from workers.models import meter_models
from workers.uplink_inbox import METER_UNKNOWN, READING_REFUSED, UplinkRecords
from workers.uplink_ports import AWAY

HALF_HOUR = timedelta(minutes=30)
LATER = START + 10 * HALF_HOUR


def row_for(world: World) -> RingRow:
    """The world's gateway as if it had enrolled."""
    ring = KeyRing(new_gateway())
    gateway = world.gateway
    return RingRow(world.group_id, world.project.id, gateway.id, gateway.serial, ring, False, 1)


def read(meter: Meter, half_hours: int, wh: int | None = None, **more: object) -> Read:
    """The reading of a meter some half hours after the start, 500 Wh an hour."""
    fields: dict[str, object] = {
        "meter": meter.serial,
        "frame_no": half_hours,
        "at": START + half_hours * HALF_HOUR,
        "relay": RelayState.CLOSED,
        "energy_wh": 250 * half_hours if wh is None else wh,
    }
    return Read(**(fields | more))  # type: ignore[arg-type] # names are Read's own fields


@pytest.fixture
def inbox(services: EmbeddedServices) -> UplinkRecords:
    """The inbox of a process."""
    return UplinkRecords(desk_at(services.app_dsn()))


async def stored(world: World) -> list[Reading]:
    """All readings of the world's meter, oldest first."""
    async with unit_of_work(world.group_id) as work:
        span = Period(START - timedelta(days=90), START + timedelta(days=90))
        found = await recent_readings(work, meter_id=world.meter.id, period=span, limit=100)
    return found[::-1]


async def latest(world: World) -> Reading:
    """The latest reading of the world's meter."""
    async with unit_of_work(world.group_id) as work:
        return (await latest_of_meters(work, meter_ids=[world.meter.id]))[world.meter.id]


async def gateway_of(world: World) -> Gateway:
    """The world's gateway as it is now."""
    async with unit_of_work(world.group_id) as work:
        return await gateway_by_id(work, gateway_id=world.gateway.id)


async def add_meter(world: World, gateway: Gateway, *, serial: str, model: str) -> Meter:
    """A meter on a gateway."""
    async with unit_of_work(world.group_id) as work:
        return await metering.add_meter(
            work,
            scope=world.scope,
            gateway=gateway,
            serial=serial,
            model=meter_models()[model],
            bus_address="7" if model.startswith("DDSY") else "12345678901234",
            at=START,
        )


def doubts(cases: list[Case]) -> list[tuple[str, str]]:
    """(kind, why) of open cases."""
    return sorted((case.kind, case.detail.get("why", "")) for case in cases)


async def test_a_reading_is_stored_as_the_gateway_said_it_and_only_in_its_own_group(
    worlds: tuple[World, World], inbox: UplinkRecords
) -> None:
    ours, theirs = worlds
    assert ours.meter.serial == theirs.meter.serial
    said = read(
        ours.meter,
        1,
        12_345,
        meter_time=START + HALF_HOUR - timedelta(seconds=3),
        wallet_fen=-4567,
        purchase_no=8,
        voltage_mv=229_900,
        current_ma=5_120,
        power_w=1_177,
        bands_wh={"peak": 10_000, "valley": 2_345},
    )
    await inbox.readings(row_for(ours), [said], LATER)
    found = await stored(ours)
    assert found == [
        Reading(
            meter_id=ours.meter.id,
            at=START + HALF_HOUR,
            received_at=LATER,
            meter_clock=START + HALF_HOUR - timedelta(seconds=3),
            total=12_345,
            remaining_hao=-456_700,
            purchase_no=8,
            relay_closed=True,
            voltage_mv=229_900,
            current_ma=5_120,
            power_w=1_177,
            bands={"peak": 10_000, "valley": 2_345},
        )
    ]
    assert await stored(theirs) == []
    assert (await gateway_of(ours)).answered_at == LATER
    assert (await gateway_of(theirs)).answered_at is None


async def test_a_gateway_speaks_only_for_its_own_meters(
    worlds: tuple[World, World], inbox: UplinkRecords
) -> None:
    ours, theirs = worlds
    sealed = await make_sealed(ours)
    elsewhere = await add_meter(ours, sealed, serial="M-ELSEWHERE", model="DDSY1352-NK")
    batch = [read(elsewhere, 1), read(ours.meter, 1), read(elsewhere, 2)]
    for _ in range(3):
        await inbox.readings(row_for(ours), batch, LATER)
    assert [reading.total for reading in await stored(ours)] == [250]
    async with unit_of_work(ours.group_id) as work:
        assert await latest_of_meters(work, meter_ids=[elsewhere.id]) == {}
    cases = await cases_of(ours)
    assert [(case.kind, case.subject, case.detail["meter"]) for case in cases] == [
        (METER_UNKNOWN, str(ours.gateway.id), "M-ELSEWHERE")
    ], "one episode"
    assert await cases_of(theirs) == []


async def test_readings_that_cannot_be_are_refused_and_noted_once_and_the_rest_is_stored(
    worlds: tuple[World, World], inbox: UplinkRecords
) -> None:
    ours, theirs = worlds
    row, meter = row_for(ours), ours.meter
    await inbox.readings(row, [read(meter, n) for n in (1, 2, 3)], LATER)
    lies = [
        read(meter, 4, 100),  # runs backwards
        read(meter, 5, 10_000_000),  # and much too fast
        read(meter, 11),  # half an hour ahead of us
        read(meter, 6, energy_wh=None, heat_wh=1500),  # not what it meters
    ]
    for lie in lies:
        await inbox.readings(row, [lie, lie], LATER)
    await inbox.readings(row, [*lies, read(meter, 7)], LATER)
    assert [reading.total for reading in await stored(ours)] == [250, 500, 750, 1750]
    assert (await latest(ours)).total == 1750
    assert doubts(await cases_of(ours)) == [(READING_REFUSED, "BACKWARDS")], "one episode a meter"
    assert await cases_of(theirs) == []


@pytest.mark.parametrize(
    ("half_hours", "wh", "why"),
    [
        (4, 100, "BACKWARDS"),
        (4, 10_000_000, "TOO_FAST"),
        (11, 2750, "FUTURE"),
        (-5000, 1, "TOO_OLD"),
    ],
)
async def test_the_case_says_why_a_reading_was_refused(
    worlds: tuple[World, World], inbox: UplinkRecords, half_hours: int, wh: int, why: str
) -> None:
    ours, _ = worlds
    await inbox.readings(row_for(ours), [read(ours.meter, 3)], LATER)
    await inbox.readings(row_for(ours), [read(ours.meter, half_hours, wh)], LATER)
    assert doubts(await cases_of(ours)) == [(READING_REFUSED, why)]
    assert (await latest(ours)).total == 750


async def test_late_readings_are_stored_where_they_belong_and_repeated_ones_change_nothing(
    worlds: tuple[World, World], inbox: UplinkRecords
) -> None:
    ours, _ = worlds
    row, meter = row_for(ours), ours.meter
    for batch in ((8, 9), (5, 4, 6), (4, 8, 1), (9,)):
        await inbox.readings(row, [read(meter, n) for n in batch], LATER)
    assert [reading.total for reading in await stored(ours)] == [
        250 * n for n in (1, 4, 5, 6, 8, 9)
    ]
    assert (await latest(ours)).total == 2250
    assert await cases_of(ours) == []
    await inbox.readings(row, [read(meter, 7, 2001)], LATER)
    assert doubts(await cases_of(ours)) == [], "within a step of the register"
    await inbox.readings(row, [read(meter, 2, 9000)], LATER)
    assert doubts(await cases_of(ours)) == [(READING_REFUSED, "BACKWARDS")]


async def test_a_cut_by_the_meters_own_rule_is_what_its_newest_reading_says(
    worlds: tuple[World, World], inbox: UplinkRecords
) -> None:
    ours, _ = worlds
    row, meter = row_for(ours), ours.meter

    def cut(half_hours: int) -> Read:
        flags = frozenset({"malignant_load_cut"})
        return read(meter, half_hours, relay=RelayState.OPEN, flags=flags)

    async def told() -> dict[UUID, OwnCut]:
        async with unit_of_work(ours.group_id) as work:
            return await own_cuts(work, meter_ids=[meter.id])

    await inbox.readings(row, [cut(3)], LATER)
    assert await told() == {}, "hours ago: nobody knows whether it still is"
    await inbox.readings(row, [read(meter, 8), cut(9)], LATER)
    assert await told() == {meter.id: OwnCut.MALIGNANT_LOAD}
    late = read(meter, 8, 2001, at=LATER - timedelta(minutes=50))
    await inbox.readings(row, [late], LATER)
    assert await told() == {meter.id: OwnCut.MALIGNANT_LOAD}, "a late reading ends nothing"
    await inbox.readings(row, [read(meter, 10)], LATER)
    assert await told() == {}


async def test_a_register_that_went_round_is_believed(
    worlds: tuple[World, World], inbox: UplinkRecords
) -> None:
    ours, _ = worlds
    totals = [999_999_500, 999_999_900, 300, 700]
    batch = [read(ours.meter, n, total) for n, total in enumerate(totals, start=1)]
    await inbox.readings(row_for(ours), batch, LATER)
    assert [reading.total for reading in await stored(ours)] == totals
    assert await cases_of(ours) == []


async def test_a_water_meter_is_read_in_litres(
    worlds: tuple[World, World], inbox: UplinkRecords
) -> None:
    ours, _ = worlds
    model = next(name for name, one in meter_models().items() if one.kind == "WATER")
    meter = await add_meter(ours, ours.gateway, serial="W-1000", model=model)
    said = read(meter, 1, energy_wh=None, volume_l=4321, relay=RelayState.UNKNOWN)
    await inbox.readings(row_for(ours), [said], LATER)
    async with unit_of_work(ours.group_id) as work:
        found = (await latest_of_meters(work, meter_ids=[meter.id]))[meter.id]
    assert (found.total, found.relay_closed) == (4321, None)


async def test_money_that_waits_for_a_meter_goes_on_when_it_is_heard(
    worlds: tuple[World, World], inbox: UplinkRecords
) -> None:
    ours, theirs = worlds
    for world in worlds:
        await sold(world)
        await _push_back(world)
    await inbox.readings(row_for(ours), [read(ours.meter, 1)], LATER)
    assert (await _due(ours), await _due(theirs)) == (LATER, START + timedelta(days=1))
    async with unit_of_work(ours.group_id) as work:
        assert await vends_waiting_of_meters(work, meter_ids=[ours.meter.id])


async def _push_back(world: World) -> None:
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE outbox_event SET due_at = $2 WHERE group_id = $1 AND topic = 'vend.due'",
            world.group_id,
            START + timedelta(days=1),
        )


async def _due(world: World) -> datetime:
    async with unit_of_work(world.group_id) as work:
        found: datetime = await work.fetchval(
            "SELECT due_at FROM outbox_event WHERE group_id = $1 AND topic = 'vend.due'",
            world.group_id,
        )
    return found


async def test_a_ping_says_that_the_gateway_is_there_and_a_silence_that_it_is_not(
    worlds: tuple[World, World], inbox: UplinkRecords
) -> None:
    ours, theirs = worlds
    row = row_for(ours)
    await inbox.pinged(row, Ping(LATER), LATER)
    soon = LATER + timedelta(seconds=30)
    await inbox.pinged(row, Ping(soon), soon)
    assert (await gateway_of(ours)).answered_at == LATER, "not each of them is written"
    await inbox.silent(row, soon)
    assert (await gateway_of(ours)).silent_since == soon
    back = LATER + timedelta(seconds=59)
    await inbox.pinged(row, Ping(back), back)
    found = await gateway_of(ours)
    assert (found.answered_at, found.silent_since) == (back, None)
    assert (await gateway_of(theirs)).answered_at is None


async def test_a_gateways_clock_that_is_off_is_an_episode(
    worlds: tuple[World, World], inbox: UplinkRecords
) -> None:
    ours, _ = worlds
    await inbox.pinged(row_for(ours), Ping(LATER - timedelta(seconds=299)), LATER)
    assert await _clock_episodes(ours) == []
    later = LATER + timedelta(minutes=2)
    await inbox.pinged(row_for(ours), Ping(later + timedelta(seconds=400)), later)
    assert await _clock_episodes(ours) == [400]


async def _clock_episodes(world: World) -> list[int]:
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT drift_s FROM metering_episode WHERE group_id = $1 AND gateway_id = $2"
            " AND kind = 'CLOCK' AND ended_at IS NULL",
            world.group_id,
            world.gateway.id,
        )
    return [row["drift_s"] for row in rows]


async def test_an_alarm_is_one_case_by_its_name_and_an_invented_name_makes_no_new_kind(
    worlds: tuple[World, World], inbox: UplinkRecords
) -> None:
    ours, theirs = worlds
    row = row_for(ours)
    for _ in range(3):
        await inbox.alarm(row, Alarm("METER_SILENT", START, ours.meter.serial), LATER)
        await inbox.alarm(row, Alarm("BUS_DOWN", START), LATER)
    for number in range(20):
        await inbox.alarm(row, Alarm(f"INVENTED_{number}", START, "M-NOBODY"), LATER)
    cases = {(case.kind, case.subject) for case in await cases_of(ours)}
    assert cases == {
        ("GATEWAY_METER_SILENT", str(ours.meter.id)),
        ("GATEWAY_BUS_DOWN", str(ours.gateway.id)),
        ("GATEWAY_OTHER", str(ours.gateway.id)),
    }
    assert await cases_of(theirs) == []


async def test_a_refusal_is_a_case_when_a_person_must_hear_of_it(
    worlds: tuple[World, World], inbox: UplinkRecords, services: EmbeddedServices
) -> None:
    ours, theirs = worlds
    sealed = await make_sealed(ours)
    await enrolled(ours, desk_at(services.app_dsn()), sealed)
    row = await row_of(ours, sealed)
    for _ in range(3):
        for code in (
            "UPLINK_FRAME_FORGED",
            "UPLINK_KEY_REVOKED",
            "UPLINK_FLOOD",
            "UPLINK_FRAME_REPLAYED",  # a broker may do that
            "UPLINK_NO_SESSION",  # and a restart of ours this
        ):
            await inbox.refused(row, code, LATER)
    await inbox.refused(b"", "UPLINK_CLAIM_LOCKED", LATER)
    kinds = [(case.kind, case.subject) for case in await cases_of(ours)]
    assert sorted(kinds) == [
        (f"UPLINK_{code}", str(sealed.id)) for code in ("FLOOD", "FRAME_FORGED", "KEY_REVOKED")
    ]
    assert await cases_of(theirs) == []


async def test_a_batch_that_fails_leaves_nothing_behind(
    worlds: tuple[World, World], inbox: UplinkRecords
) -> None:
    ours, theirs = worlds
    row = replace(row_for(ours), project_id=theirs.project.id)  # its case has no place to go
    unknown = Read(meter="M-NOBODY", frame_no=9, at=START, relay=RelayState.OPEN, energy_wh=1)
    with pytest.raises(AWAY):
        await inbox.readings(row, [read(ours.meter, 1), unknown], LATER)
    assert await stored(ours) == []
    assert (await gateway_of(ours)).answered_at is None
