"""Each night every meter's count and wallet against the book; drift stops selling, a note ends it (C11)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from backend.audit.queries import entries
from backend.journeys.drift import CASE, meter_proof, meter_proofs, resolve_drift
from backend.journeys.prove_meters import plan_proofs, prove_project
from backend.kernel.clock import business_day
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.money import ZERO, Money
from backend.ledger.queries import derived_balance, owed
from backend.ledger.rules import AccountKind
from backend.metering.queries import meter_by_id
from backend.metering.readings import store_readings
from backend.reconcile.proof_rules import ProofVerdict
from backend.reconcile.proofs import Proof, proof_of

from .test_ledger import expect_kept_is_derived
from .test_vend_steps import announce, sold, vend_for, verify
from .world import START, World, admin_scope, make_account, make_meter, new_id, reading_of

DAY = business_day(START)
NIGHT = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)  # two in the morning in China
EVENING = START + timedelta(hours=10)
NOTE = "the seal was broken, replaced by Wang"
ONE_DAY = timedelta(days=1)


async def paid_fifty(world: World) -> None:
    """50 yuan paid, sent to the meter and verified."""
    vend = await vend_for(world, await sold(world))
    await announce(world, vend)
    await verify(world, vend)


async def read(world: World, *, wh: int, yuan: str, count: int = 1, at: datetime = EVENING) -> None:
    """The meter's last word of a day."""
    hao = Money.parse(yuan).hao
    reading = reading_of(world.meter.id, at=at, total=wh, remaining_hao=hao, purchase_no=count)
    async with unit_of_work(world.group_id) as work:
        await store_readings(work, readings=[reading])


async def night(world: World, *, nights: int = 0) -> Proof:
    """The worker's proof of the day, `nights` later than the first; gives the world's meter's."""
    day = DAY + nights * ONE_DAY
    await prove_project(
        group_id=world.group_id, project_id=world.project.id, day=day, at=NIGHT + nights * ONE_DAY
    )
    async with unit_of_work(world.group_id) as work:
        row = await work.fetchrow(
            "SELECT * FROM reconcile_proof WHERE meter_id = $1 AND day = $2", world.meter.id, day
        )
    assert row is not None
    return proof_of(row)


async def book(world: World) -> tuple[Money, Money, Money]:
    """(held by the meter, income, set apart) by the book."""
    async with unit_of_work(world.group_id) as work:
        wallet = await owed(work, kind=AccountKind.METER_WALLET, refs=[world.meter.id])
        revenue = await derived_balance(work, kind=AccountKind.REVENUE, ref=world.project.id)
        apart = await derived_balance(work, kind=AccountKind.SUSPENSE, ref=world.project.id)
    await expect_kept_is_derived(world)
    return wallet[world.meter.id], -revenue, -apart


async def is_sold_to(world: World) -> bool:
    """Whether vends may go to the world's meter."""
    async with unit_of_work(world.group_id) as work:
        return (await meter_by_id(work, meter_id=world.meter.id)).selling_stopped_at is None


async def drift_cases(world: World) -> list[bool]:
    """The cases of drift in the group: whether each is open."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT resolved_at IS NULL AS open FROM alerts_case WHERE kind = $1 ORDER BY id", CASE
        )
    return [row["open"] for row in rows]


async def lots_left(world: World) -> Money:
    """What is left of all lots of the group."""
    async with unit_of_work(world.group_id) as work:
        return Money(
            await work.fetchval(
                "SELECT coalesce(sum(amount_hao - used_hao), 0)::bigint FROM ledger_lot"
            )
        )


async def test_the_book_follows_a_meter_whose_use_explains_what_is_gone(
    worlds: tuple[World, World],
) -> None:
    world, other = worlds
    await paid_fifty(world)
    await read(world, wh=12_000, yuan="40.40")
    proof = await night(world)
    assert (proof.verdict, proof.posted, proof.left) == (
        ProofVerdict.AGREES,
        Money.parse("9.60"),
        ZERO,
    )
    assert (proof.ledger_count, proof.meter_count, proof.used) == (1, 1, 12_000)
    assert await book(world) == (Money.parse("40.40"), Money.parse("9.60"), ZERO)
    assert await lots_left(world) == Money.parse("40.40")
    assert await is_sold_to(world)
    async with unit_of_work(other.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM reconcile_proof") == 0


async def test_the_next_night_goes_on_where_this_one_ended(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    await paid_fifty(world)
    await read(world, wh=12_000, yuan="40.40")
    await night(world)
    await read(world, wh=13_000, yuan="39.60", at=EVENING + ONE_DAY)
    proof = await night(world, nights=1)
    assert (proof.verdict, proof.used, proof.use) == (
        ProofVerdict.AGREES,
        1_000,
        Money.parse("0.80"),
    )
    assert await book(world) == (Money.parse("39.60"), Money.parse("10.40"), ZERO)


async def test_doing_it_again_or_by_two_at_once_posts_once(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    await paid_fifty(world)
    await read(world, wh=12_000, yuan="40.40")
    await asyncio.gather(*(night(world) for _ in range(4)), return_exceptions=True)
    await night(world)
    await night(world)
    assert await book(world) == (Money.parse("40.40"), Money.parse("9.60"), ZERO)
    async with unit_of_work(world.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM reconcile_proof") == 1


@pytest.mark.parametrize(
    ("wh", "yuan", "count", "words"),
    [
        (1_000, "39.00", 1, "are gone from the meter"),  # 11 yuan for one kWh
        (12_000, "50.50", 1, "more than use leaves"),
        (12_000, "40.40", 2, "count is 2"),  # somebody else sold to it
        (12_000, "40.40", 0, "count is 0"),
    ],
)
async def test_drift_stops_selling_and_is_a_case_with_figures(
    worlds: tuple[World, World], wh: int, yuan: str, count: int, words: str
) -> None:
    world, other = worlds
    await paid_fifty(world)
    await read(world, wh=wh, yuan=yuan, count=count)
    proof = await night(world)
    assert proof.verdict is ProofVerdict.DRIFT
    assert words in proof.reason
    assert await book(world) == (Money.parse("50"), ZERO, ZERO), "nothing is booked on a guess"
    assert not await is_sold_to(world)
    assert await is_sold_to(other)
    assert await drift_cases(world) == [True]
    async with unit_of_work(world.group_id) as work:
        detail = await work.fetchval("SELECT detail FROM alerts_case WHERE kind = $1", CASE)
    assert detail["meterRemaining"] == yuan
    assert detail["ledgerRemaining"] == "50.00"
    assert (detail["ledgerPurchaseNo"], detail["meterPurchaseNo"]) == ("1", str(count))
    await read(world, wh=wh + 10, yuan=yuan, count=count, at=EVENING + ONE_DAY)
    await night(world, nights=1)
    assert await drift_cases(world) == [True], "the same drift is one case"


async def test_a_vend_that_is_under_way_is_no_drift_and_is_proved_a_night_later(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    vend = await vend_for(world, await sold(world))
    await announce(world, vend)
    await read(world, wh=1_000, yuan="49.20")
    assert (await night(world)).verdict is ProofVerdict.UNSETTLED
    assert await is_sold_to(world)
    await verify(world, vend)
    await read(world, wh=1_000, yuan="49.20", at=EVENING + ONE_DAY)
    assert (await night(world, nights=1)).verdict is ProofVerdict.AGREES
    assert (await book(world))[:2] == (Money.parse("49.20"), Money.parse("0.80"))


async def test_a_vend_that_was_verified_after_the_reading_is_not_missed_in_it(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    vend = await vend_for(world, await sold(world))
    await announce(world, vend)
    await verify(world, vend)
    await read(world, wh=100, yuan="0.00", count=0, at=START + timedelta(seconds=2))
    proof = await night(world)
    assert (proof.verdict, proof.ledger, proof.posted) == (ProofVerdict.AGREES, ZERO, ZERO)


async def test_a_meter_that_was_not_read_is_proved_when_it_is_read_again(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await paid_fifty(world)
    assert (await night(world)).verdict is ProofVerdict.UNREAD
    await read(world, wh=20_000, yuan="30.00", at=EVENING + ONE_DAY)
    proof = await night(world, nights=1)
    assert (proof.verdict, proof.used, proof.posted) == (
        ProofVerdict.AGREES,
        20_000,
        Money.parse("20"),
    )


async def test_an_operator_ends_a_drift_with_a_note_and_the_book_follows_from_there(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await paid_fifty(world)
    await read(world, wh=1_000, yuan="20.00")
    first = await night(world)
    await read(world, wh=1_000, yuan="20.00", at=EVENING + ONE_DAY)
    second = await night(world, nights=1)
    at = NIGHT + ONE_DAY
    with pytest.raises(InvalidInput):
        await resolve_drift(scope=world.scope, proof_id=second.id, note=" ", at=at)
    with pytest.raises(Conflict, match="newest"):
        await resolve_drift(scope=world.scope, proof_id=first.id, note=NOTE, at=at)
    ended = await resolve_drift(scope=world.scope, proof_id=second.id, note=NOTE, at=at)
    assert (ended.resolved_by, ended.note, ended.left) == ("ling", NOTE, ZERO)
    assert await book(world) == (Money.parse("20"), ZERO, Money.parse("30"))
    assert await is_sold_to(world)
    assert await drift_cases(world) == [False]
    for proof in (first, second):
        with pytest.raises(Conflict):
            await resolve_drift(scope=world.scope, proof_id=proof.id, note=NOTE, at=at)
    async with unit_of_work(world.group_id) as work:
        (entry,) = await entries(work, before_seq=None, limit=1)
    assert entry.action == "reconcile:proof:resolve"
    await read(world, wh=2_000, yuan="19.20", at=EVENING + 2 * ONE_DAY)
    proof = await night(world, nights=2)
    assert (proof.verdict, proof.use) == (ProofVerdict.AGREES, Money.parse("0.80"))
    assert await book(world) == (Money.parse("19.20"), Money.parse("0.80"), Money.parse("30"))


async def test_money_that_nobody_paid_is_set_apart_and_the_household_uses_it(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await paid_fifty(world)
    await read(world, wh=1_000, yuan="60.00")
    drift = await night(world)
    await resolve_drift(scope=world.scope, proof_id=drift.id, note=NOTE, at=NIGHT)
    assert await book(world) == (Money.parse("60"), ZERO, Money.parse("-10"))
    await read(world, wh=70_000, yuan="4.80", at=EVENING + ONE_DAY)
    proof = await night(world, nights=1)
    assert (proof.verdict, proof.posted) == (ProofVerdict.AGREES, Money.parse("55.20"))
    assert await lots_left(world) == Money.parse("4.80")


async def test_a_drift_that_went_away_by_itself_moves_nothing_when_it_is_ended(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await paid_fifty(world)
    await read(world, wh=1_000, yuan="20.00")
    drift = await night(world)
    await read(world, wh=1_500, yuan="48.80", at=EVENING + ONE_DAY)
    assert (await night(world, nights=1)).verdict is ProofVerdict.AGREES
    assert not await is_sold_to(world), "a person looks first"
    await resolve_drift(scope=world.scope, proof_id=drift.id, note=NOTE, at=NIGHT + ONE_DAY)
    assert await is_sold_to(world)
    assert await book(world) == (Money.parse("48.80"), Money.parse("1.20"), ZERO)


async def test_a_wrong_count_alone_moves_no_money_when_it_is_ended(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await paid_fifty(world)
    await read(world, wh=12_000, yuan="40.40", count=2)
    drift = await night(world)
    await resolve_drift(scope=world.scope, proof_id=drift.id, note=NOTE, at=NIGHT)
    assert await book(world) == (Money.parse("50"), ZERO, ZERO)


async def test_what_a_meter_held_when_it_was_hung_is_no_drift(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE metering_assignment SET opening_remaining_hao = 200000")
    await read(world, wh=5_000, yuan="16.00", count=0)
    proof = await night(world)
    assert (proof.verdict, proof.ledger, proof.posted) == (
        ProofVerdict.AGREES,
        Money.parse("20"),
        Money.parse("4"),
    )
    assert await book(world) == (Money.parse("16"), Money.parse("4"), ZERO)


async def test_all_meters_of_a_project_are_proved_and_one_that_drifts_costs_the_others_nothing(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    made = []
    for number in range(3):
        account = await make_account(world, no=f"10010{number}")
        made.append(
            await make_meter(
                world, serial=f"EXTRA-{number}", bus_address=30 + number, account=account
            )
        )
    readings = [
        reading_of(meter.id, at=EVENING, total=100, remaining_hao=hao)
        for (meter, _), hao in zip(made, (0, 90_000, 0), strict=True)
    ]
    async with unit_of_work(world.group_id) as work:
        await store_readings(work, readings=readings)
    assert (await night(world)).verdict is ProofVerdict.UNREAD
    async with unit_of_work(world.group_id) as work:
        found = await meter_proofs(
            work,
            scope=world.scope,
            project_id=world.project.id,
            only_drift=False,
            before=None,
            limit=9,
        )
    verdicts = {proof.meter_id: proof.verdict for proof in found}
    assert [verdicts[meter.id] for meter, _ in made] == [
        ProofVerdict.AGREES,
        ProofVerdict.DRIFT,
        ProofVerdict.AGREES,
    ]


async def test_a_night_is_planned_once_from_one_o_clock_of_the_projects_own_morning(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    before = datetime(2026, 11, 22, 16, 59, tzinfo=UTC)
    assert await plan_proofs(group_id=world.group_id, at=before) == 0
    assert await plan_proofs(group_id=world.group_id, at=before + timedelta(minutes=1)) == 1
    assert await plan_proofs(group_id=world.group_id, at=NIGHT) == 0
    async with unit_of_work(world.group_id) as work:
        payload = await work.fetchval("SELECT payload FROM outbox_event WHERE topic = 'proof.due'")
    assert payload == {"project_id": str(world.project.id), "day": "2026-11-22"}


async def test_who_may_not_sees_no_proof_and_ends_no_drift(worlds: tuple[World, World]) -> None:
    world, other = worlds
    await paid_fifty(world)
    await read(world, wh=1_000, yuan="20.00")
    drift = await night(world)
    reader = admin_scope(world.group_id, permissions=frozenset({"reconcile:read"}))
    stranger = admin_scope(world.group_id, permissions=frozenset({"case:resolve"}))
    for scope, refused in ((reader, Forbidden), (stranger, NotFound), (other.scope, NotFound)):
        with pytest.raises(refused):
            await resolve_drift(scope=scope, proof_id=drift.id, note=NOTE, at=NIGHT)
    async with unit_of_work(world.group_id) as work:
        assert (await meter_proof(work, scope=reader, proof_id=drift.id)).id == drift.id
        for scope, id_ in ((stranger, drift.id), (reader, new_id())):
            with pytest.raises(NotFound):
                await meter_proof(work, scope=scope, proof_id=id_)
    assert not await is_sold_to(world)


async def test_two_meters_of_one_household_use_its_lots_one_after_the_other(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await paid_fifty(world)
    second, assignment = await make_meter(
        world, serial="SECOND-1", bus_address=40, account=world.account
    )
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE metering_assignment SET opening_remaining_hao = 100000 WHERE id = $1",
            assignment.id,
        )
        at_second = reading_of(second.id, at=EVENING, total=9_000, remaining_hao=20_000)
        await store_readings(work, readings=[at_second])
    await read(world, wh=52_000, yuan="5.00")
    await night(world)
    # 45 and 8 yuan were used; the grant of 10 yuan first, then the 50 that were paid.
    assert await lots_left(world) == Money.parse("7")
    assert (await book(world))[1] == Money.parse("53")


async def test_lots_that_hold_less_than_was_used_are_a_drift_of_the_book(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await paid_fifty(world)
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "INSERT INTO ledger_lot_use (group_id, lot_id, entry_id, amount_hao)"
            " SELECT l.group_id, l.id, e.id, 450000 FROM ledger_lot l, ledger_entry e LIMIT 1"
        )
    await read(world, wh=12_000, yuan="40.40")
    proof = await night(world)
    assert (proof.verdict, proof.posted, proof.left) == (
        ProofVerdict.DRIFT,
        ZERO,
        Money.parse("9.60"),
    )
    assert "lots" in proof.reason
    assert not await is_sold_to(world)
    async with unit_of_work(world.group_id) as work:
        used = await work.fetchval("SELECT count(*) FROM ledger_entry WHERE kind = 'USED_AT_METER'")
    assert used == 0


async def test_use_comes_out_of_the_purse_that_the_household_shares(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    payer = await make_account(world, no="100301")
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE accounts_account SET purse_account_id = $1 WHERE id = $2",
            payer.id,
            world.account.id,
        )
    await paid_fifty(world)
    await read(world, wh=12_000, yuan="40.40")
    assert (await night(world)).verdict is ProofVerdict.AGREES
    assert await lots_left(world) == Money.parse("40.40")
    assert await book(world) == (Money.parse("40.40"), Money.parse("9.60"), ZERO)
