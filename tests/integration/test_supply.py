"""What operators want of a supply holds until they say otherwise; what is protected stays on (C19-C23)."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from backend.alerts.queries import cases_page
from backend.control.command_rules import NOTHING, CommandKind, CommandState, Given, Order
from backend.control.commands import Command
from backend.control.decisions import decisions_of_meters
from backend.control.supplies import MeterSupply, supplies_of_meters
from backend.control.supply_requests import RequestKind, RequestState, SupplyRequest
from backend.control.supply_rules import SupplyPolicy, Want, Why
from backend.journeys import supply
from backend.journeys.command import ask, command_meter, tend
from backend.journeys.supply_look import Looked, tend_supplies
from backend.kernel.clock import SystemClock
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.money import Money
from backend.kernel.scope import Actor, Scope
from backend.kernel.settings import read_settings
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tenancy.rules import Permission
from workers.main import worker_context
from workers.models import meter_models
from workers.profiles.loader import shipped_profiles
from workers.protocols import modbus
from workers.sweep import meter_refresh

from .commanded import WHY, Post
from .conftest import PLATFORM_LIMIT
from .world import admin_scope, make_meter, new_id

TRIP, KEEP, RELEASE = CommandKind.TRIP, CommandKind.KEEP_POWER, CommandKind.RELEASE
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
PATIENCE = timedelta(minutes=5)
SECOND_PERSON = Actor("operator", "op-2", "wen", "203.0.113.8")


def second(post: Post) -> Scope:
    """Another operator with every right."""
    return replace(post.world.scope, actor=SECOND_PERSON)


async def look(post: Post) -> Looked:
    """The look of a minute, a moment later."""
    post.clock.advance(SECOND)
    return await tend_supplies(
        group_id=post.world.group_id, models=meter_models(), at=post.clock.now()
    )


async def of(post: Post, meter_id: UUID | None = None) -> MeterSupply:
    """The supply of unit 1 as it stands."""
    wanted = meter_id or post.world.meter.id
    async with unit_of_work(post.world.group_id) as work:
        return (await supplies_of_meters(work, meter_ids=[wanted]))[wanted]


async def read(post: Post) -> None:
    """The meter is read, a moment later."""
    post.clock.advance(MINUTE)
    payload = {"meter_id": str(post.world.meter.id)}
    await meter_refresh(post.context, post.world.group_id, payload)


async def newest(post: Post) -> Command:
    """The newest command of unit 1."""
    return (await post.all())[0]


async def somebody_at_the_wall(post: Post, *, opens: bool) -> None:
    """The meter's forced state is changed past the cloud, and the meter is read."""
    forced = modbus.write_registers(unit=1, address=0x0057, values=(1, int(opens)))
    await post.meter().answer(forced.request)
    post.clock.advance(PATIENCE)
    await read(post)


async def protect(post: Post, *, days: int = 90) -> MeterSupply:
    """The fire pump is protected."""
    at = post.clock.now()
    return await supply.protect_meter(
        scope=post.world.scope,
        meter_id=post.world.meter.id,
        reason="the fire pump",
        review_at=at + timedelta(days=days),
        at=at,
    )


async def ask_second(post: Post, kind: RequestKind) -> SupplyRequest:
    """An operator asks for the word of a second one."""
    return await supply.ask_second(
        scope=post.world.scope,
        meter_id=post.world.meter.id,
        kind=kind,
        reason="smoke in the shaft",
        at=post.clock.now(),
    )


async def rule(
    post: Post, request: SupplyRequest, scope: Scope, *, approved: bool = True
) -> SupplyRequest:
    """Somebody gives it."""
    return await supply.rule_second(
        scope=scope,
        request_id=request.id,
        approved=approved,
        models=meter_models(),
        at=post.clock.now(),
    )


async def test_a_trip_is_a_policy_that_is_made_true_again_when_the_relay_moves(post: Post) -> None:
    assert (await post.done(TRIP)).state is CommandState.VERIFIED
    tripped = await of(post)
    assert tripped.policy is SupplyPolicy.FORCED_OFF
    assert tripped.force is not None
    assert tripped.force.why is Why.FORCED_OFF
    assert (await look(post)).commands == 0
    await somebody_at_the_wall(post, opens=False)
    assert post.closed
    assert await look(post) == Looked(decided=1, commands=1, held=0)
    again = await newest(post)
    assert (again.kind, again.requested_by, again.why) == (TRIP, "supply engine", Why.FORCED_OFF)
    await post.serve(again)
    assert not post.closed
    assert (await look(post)).commands == 0


async def test_a_meter_that_is_silent_gets_its_command_when_it_is_heard_of_and_not_each_minute(
    post: Post,
) -> None:
    await post.done(TRIP)
    await somebody_at_the_wall(post, opens=False)
    assert (await look(post)).commands == 1
    post.clock.advance(timedelta(hours=1))
    await tend(group_id=post.world.group_id, at=post.clock.now())
    for _ in range(3):
        post.clock.advance(timedelta(minutes=10))
        assert (await look(post)).commands == 0
    await read(post)
    assert (await look(post)).commands == 1
    await post.serve(await newest(post))
    assert not post.closed


async def test_a_forced_state_ends_at_its_time_and_the_money_decides_again(post: Post) -> None:
    at = post.clock.now()
    asked = await command_meter(
        scope=post.world.scope,
        meter_id=post.world.meter.id,
        kind=TRIP,
        reason=WHY,
        models=meter_models(),
        at=at,
        until=at + timedelta(hours=2),
    )
    await post.serve(asked)
    post.clock.advance(timedelta(hours=1))
    assert (await look(post)).commands == 0
    post.clock.advance(timedelta(hours=1))
    assert (await look(post)).commands == 1
    release = await newest(post)
    assert (release.kind, release.why) == (RELEASE, Why.NOT_OUR_MONEY)
    await post.serve(release)
    assert post.closed
    free = await of(post)
    assert free.force is None
    assert free.policy_at(post.clock.now()) is SupplyPolicy.AUTO
    assert await look(post) == Looked(0, 0, 0)


@pytest.mark.parametrize("kind", [RELEASE, CommandKind.CLOSE, CommandKind.PRICES])
async def test_an_end_belongs_to_a_forced_state_and_is_to_come(
    post: Post, kind: CommandKind
) -> None:
    at = post.clock.now()
    for wanted, until in ((kind, at + PATIENCE), (TRIP, at)):
        prices = [("flat", Money.parse("1"))]
        with pytest.raises(InvalidInput):
            await command_meter(
                scope=post.world.scope,
                meter_id=post.world.meter.id,
                kind=wanted,
                reason=WHY,
                given=Given(prices) if wanted is CommandKind.PRICES else NOTHING,
                models=meter_models(),
                at=at,
                until=until,
            )
    assert await post.all() == []


async def ask_for_business(post: Post) -> Command:
    """A trip that is no operator's policy."""
    async with unit_of_work(post.world.group_id) as work:
        return await ask(
            work,
            meter=post.world.meter,
            order=Order(TRIP, WHY),
            models=meter_models(),
            actor=post.world.scope.actor,
            at=post.clock.now(),
        )


async def test_a_protected_meter_is_kept_on_and_whoever_asks_for_a_trip_is_refused(
    post: Post,
) -> None:
    await protect(post)
    with pytest.raises(Conflict, match="the fire pump"):
        await post.ask(TRIP)
    with pytest.raises(
        Conflict, match="protected"
    ):  # a takedown, a batch, a timetable: all by `ask`
        await ask_for_business(post)
    assert await post.all() == []
    assert (await of(post)).policy is SupplyPolicy.AUTO
    await read(post)
    assert (await look(post)).commands == 1
    kept = await newest(post)
    assert (kept.kind, kept.why) == (KEEP, Why.PROTECTED)
    await post.serve(kept)
    assert (await look(post)).commands == 0
    (entry,) = await post.audited("supply:meter:protect")
    assert entry.after is not None
    assert entry.after["reason"] == "the fire pump"


async def test_a_protection_ends_by_two_operators_and_by_nobody_else(post: Post) -> None:
    await protect(post)
    asked = await ask_second(post, RequestKind.END_PROTECTION)
    with pytest.raises(Conflict, match="second operator"):
        await rule(post, asked, post.world.scope)
    assert (await of(post)).protected is not None
    ruled = await rule(post, asked, second(post))
    assert (ruled.state, ruled.ruled_name) == (RequestState.APPROVED, "wen")
    assert (await of(post)).protected is None
    with pytest.raises(Conflict, match="approved before"):
        await rule(post, asked, second(post), approved=False)
    assert (await post.done(TRIP)).state is CommandState.VERIFIED
    assert len(await post.audited("supply:request:rule")) == 1


async def test_who_asked_may_withdraw_and_what_expired_is_ruled_no_more(post: Post) -> None:
    await protect(post)
    one = await ask_second(post, RequestKind.EMERGENCY_TRIP)
    other = await ask_second(post, RequestKind.EMERGENCY_TRIP)
    withdrawn = await rule(post, one, post.world.scope, approved=False)
    assert withdrawn.state is RequestState.REFUSED
    post.clock.advance(timedelta(minutes=30))
    with pytest.raises(Conflict, match="expired"):
        await rule(post, other, second(post))
    assert await post.all() == []


async def test_two_operators_trip_a_protected_meter_in_an_emergency_and_one_ends_it(
    post: Post,
) -> None:
    await protect(post)
    await rule(post, await ask_second(post, RequestKind.EMERGENCY_TRIP), second(post))
    trip = await newest(post)
    assert (trip.kind, trip.why) == (TRIP, Why.EMERGENCY)
    await post.serve(trip)
    assert not post.closed
    emergency = (await of(post)).emergency
    assert emergency is not None
    assert emergency.by == "ling, wen"
    await look(post)
    assert (await of(post)).want is Want.OFF
    with pytest.raises(Conflict, match="smoke in the shaft"):
        await post.ask(KEEP)
    await supply.end_emergency(
        scope=post.world.scope,
        meter_id=post.world.meter.id,
        reason="the shaft is clear",
        at=post.clock.now(),
    )
    assert (await look(post)).commands == 1
    back = await newest(post)
    assert (back.kind, back.why) == (KEEP, Why.PROTECTED)
    await post.serve(back)
    assert post.closed
    with pytest.raises(Conflict, match="no emergency"):
        await supply.end_emergency(
            scope=post.world.scope, meter_id=post.world.meter.id, reason=WHY, at=post.clock.now()
        )


async def test_a_protection_is_asked_after_at_its_time_and_does_not_end_by_itself(
    post: Post,
) -> None:
    await protect(post, days=1)
    post.clock.advance(timedelta(days=2))
    await look(post)
    await look(post)
    assert await cases_of(post) == ["PROTECTION_REVIEW"]
    assert (await of(post)).protected is not None


async def cases_of(post: Post) -> list[str]:
    """The kinds of the project's open cases."""
    async with unit_of_work(post.world.group_id) as work:
        found = await cases_page(
            work,
            scope=post.world.scope,
            project_id=post.world.project.id,
            only_open=True,
            before=None,
            limit=10,
        )
    return [case.kind for case in found]


async def test_a_meter_that_refuses_is_a_case_until_its_relay_is_as_it_is_wanted(
    post: Post,
) -> None:
    await post.done(TRIP)
    await somebody_at_the_wall(post, opens=False)
    await look(post)
    post.ear.refused = 1
    await post.serve(await newest(post))
    assert (await newest(post)).state is CommandState.FAILED
    await read(post)
    post.clock.advance(PATIENCE)
    assert (await look(post)).commands == 0  # not each five minutes: it said no
    assert await cases_of(post) == ["SUPPLY_NOT_OBEYED"]
    post.clock.advance(timedelta(hours=1))
    await read(post)
    assert (await look(post)).commands == 1
    await post.serve(await newest(post))
    assert not post.closed
    await look(post)
    assert await cases_of(post) == []


async def test_what_no_profile_can_switch_is_a_case_and_not_silence(post: Post) -> None:
    await protect(post)
    await read(post)
    at = post.clock.now()
    looked = await tend_supplies(group_id=post.world.group_id, models={}, at=at)
    assert looked == Looked(decided=1, commands=0, held=0)
    assert await cases_of(post) == ["SUPPLY_NOT_OBEYED"]


def test_the_worker_knows_every_model_that_has_a_profile(services: EmbeddedServices) -> None:
    settings = read_settings(
        {
            "SHUIDIAN_ENV": "test",
            "SHUIDIAN_DATABASE_URL": services.app_dsn(),
            "SHUIDIAN_REDIS_URL": services.valkey.url,
            "SHUIDIAN_PUBLIC_URL": "http://127.0.0.1",
            "SHUIDIAN_SECRET_KEYS": "1:" + base64.b64encode(bytes(32)).decode(),
        }
    )
    context = worker_context(settings, clock=SystemClock())
    assert set(context.ports.meter_models) == set(shipped_profiles())


async def slip(post: Post, *, meters: int) -> None:
    """Force off, past all doors, so many meters of unit 1 that are on."""
    world = post.world
    ids = [world.meter.id]
    for number in range(meters - 1):
        meter, _ = await make_meter(
            world, serial=f"MORE-{number}", bus_address=20 + number, account=world.account
        )
        ids.append(meter.id)
    async with unit_of_work(post.world.group_id) as work:
        for meter_id in ids:
            await work.execute(
                "INSERT INTO control_supply (group_id, project_id, meter_id, policy, policy_reason,"
                " policy_by, policy_at) VALUES ($1, $2, $3, 'FORCED_OFF', 'a slip', 'ling', $4)"
                " ON CONFLICT DO NOTHING",
                world.group_id,
                world.project.id,
                meter_id,
                post.clock.now(),
            )
            await work.execute(
                "INSERT INTO metering_latest (group_id, meter_id, at, received_at, total, relay)"
                " VALUES ($1, $2, $3, $3, 0, 1) ON CONFLICT (group_id, meter_id) DO NOTHING",
                world.group_id,
                meter_id,
                post.clock.now(),
            )
    await read(post)


async def test_trips_beyond_the_limit_of_an_hour_wait_and_a_case_says_so(post: Post) -> None:
    await slip(post, meters=7)
    assert await look(post) == Looked(decided=7, commands=5, held=2)
    assert await cases_of(post) == ["TRIPS_HELD"]
    post.clock.advance(timedelta(minutes=61))
    assert (await look(post)).held == 0


async def test_an_emergency_waits_for_no_limit_of_automatic_cuts(post: Post) -> None:
    await rule(post, await ask_second(post, RequestKind.EMERGENCY_TRIP), second(post))
    await post.serve(await newest(post))
    await slip(post, meters=7)
    assert await look(post) == Looked(decided=7, commands=5, held=1)
    await somebody_at_the_wall(post, opens=False)
    assert await look(post) == Looked(decided=2, commands=1, held=1)
    again = await newest(post)
    assert (again.why, again.requested_by) == (Why.EMERGENCY, "emergency trip")


async def test_trips_beyond_the_limit_of_the_platform_wait_whichever_group_gives_them(
    both: tuple[Post, Post], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PLATFORM_LIMIT, lambda meters: 3)
    ours, theirs = both
    for post in both:
        post.clock.advance(timedelta(days=4_000))  # no other test gives a trip in this hour
        await slip(post, meters=2)
    assert await look(ours) == Looked(decided=2, commands=2, held=0)
    assert await look(theirs) == Looked(decided=2, commands=1, held=1)
    assert (await cases_of(ours), await cases_of(theirs)) == ([], ["TRIPS_HELD"])
    theirs.clock.advance(timedelta(minutes=61))
    assert (await look(theirs)).held == 0


async def test_each_change_of_a_decision_is_kept_with_all_that_it_was_taken_from(
    post: Post,
) -> None:
    await post.done(TRIP)
    await look(post)
    await look(post)
    await post.done(RELEASE)
    await look(post)
    await post.done(KEEP)
    await look(post)
    meter_id = post.world.meter.id
    async with unit_of_work(post.world.group_id) as work:
        kept = (await decisions_of_meters(work, meter_ids=[meter_id], limit=10))[meter_id]
    assert [(each.want, each.why) for each in kept] == [
        (Want.ON, Why.KEEP_ON),
        (Want.OFF, Why.FORCED_OFF),
    ]
    assert kept[1].inputs["policy"] == "FORCED_OFF"
    assert kept[1].inputs["relay"] is False
    assert kept[1].inputs["period"] == 1800


async def test_rights_are_asked_for_each_step_and_another_groups_meter_is_not_there(
    both: tuple[Post, Post],
) -> None:
    ours, theirs = both
    at = ours.clock.now()
    reader = admin_scope(ours.world.group_id, permissions=frozenset({str(Permission.METER_READ)}))
    due = at + timedelta(days=1)
    for scope, meter, error in (
        (reader, ours.world.meter, Forbidden),
        (ours.world.scope, theirs.world.meter, NotFound),
    ):
        with pytest.raises(error):
            await supply.protect_meter(
                scope=scope, meter_id=meter.id, reason=WHY, review_at=due, at=at
            )
        with pytest.raises(error):
            await supply.end_emergency(scope=scope, meter_id=meter.id, reason=WHY, at=at)
        for kind in RequestKind:
            with pytest.raises(error):
                await supply.ask_second(
                    scope=scope, meter_id=meter.id, kind=kind, reason=WHY, at=at
                )
    with pytest.raises(NotFound):
        await supply.rule_second(
            scope=ours.world.scope, request_id=new_id(), approved=True, models={}, at=at
        )
    with pytest.raises(Conflict, match="nothing protects"):
        await supply.ask_second(
            scope=ours.world.scope,
            meter_id=ours.world.meter.id,
            kind=RequestKind.END_PROTECTION,
            reason=WHY,
            at=at,
        )
    for review in (at, at + timedelta(days=400)):
        with pytest.raises(InvalidInput):
            await supply.protect_meter(
                scope=ours.world.scope,
                meter_id=ours.world.meter.id,
                reason=WHY,
                review_at=review,
                at=at,
            )
