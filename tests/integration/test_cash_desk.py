"""Money taken at a desk is counted, booked once, given back out of the same drawer (A15, A16, C1, C30)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from backend.alerts.queries import Case, cases_page
from backend.audit.queries import entries
from backend.control.queries import vends_of_topups
from backend.control.rules import VendState
from backend.journeys.cash_desk import close_shift, hand_over, in_drawer, pay_out
from backend.journeys.cashier import print_receipt, receipt
from backend.journeys.refund import refuse_refund
from backend.journeys.refund_sending import tend_refunds
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Scope
from backend.ledger.purses import PurseCharge, charge
from backend.ledger.queries import derived_balance, owed
from backend.ledger.rules import AccountKind
from backend.tenancy import operations as tenancy
from backend.topups.queries import Order
from backend.topups.receipts import ticket
from backend.topups.refund_rules import RefundState
from backend.topups.rules import Channel, OrderState
from backend.topups.shifts import Shift, taken_in_shifts

from .desk import cloud, opened, take
from .refunding import allow_alone, ask, cloud_order, second
from .test_ledger import expect_kept_is_derived
from .world import World, admin_scope, make_account, make_project

FIFTY = Money.parse("50")


async def holds(world: World, kind: AccountKind, ref: UUID | None = None) -> str:
    """What an account of the book holds, debit positive; the project's when no ref is given."""
    async with unit_of_work(world.group_id) as work:
        return str(await derived_balance(work, kind=kind, ref=ref or world.project.id))


async def open_cases(world: World) -> list[Case]:
    """The open cases of the project."""
    async with unit_of_work(world.group_id) as work:
        return await cases_page(
            work,
            scope=world.scope,
            project_id=world.project.id,
            only_open=True,
            before=None,
            limit=50,
        )


async def close(world: World, shift: Shift, counted: str, *, scope: Scope | None = None) -> Shift:
    """Count the drawer and close."""
    return await close_shift(
        scope=scope or world.scope,
        shift_id=shift.id,
        counted=Money.parse(counted),
        note="end of the day",
        at=world.clock.now(),
    )


async def test_cash_is_an_order_paid_at_once_in_the_drawer_and_on_its_way_to_the_meter(
    worlds: tuple[World, World],
) -> None:
    world, other = worlds
    shift = await opened(world)
    order = await take(world)
    assert (order.state, order.channel, order.credential_id) == (
        OrderState.PAID,
        Channel.CASH,
        None,
    )
    assert await holds(world, AccountKind.CASH_DESK, shift.id) == "150.00"
    assert await holds(world, AccountKind.CASH_SAFE) == "-100.00"
    async with unit_of_work(world.group_id) as work:
        vend = (await vends_of_topups(work, topup_ids=[order.id]))[order.id]
        transit = await owed(work, kind=AccountKind.IN_TRANSIT, refs=[world.meter.id])
        (newest,) = await entries(work, before_seq=None, limit=1)
    assert (vend.state, vend.amount, transit[world.meter.id]) == (VendState.QUEUED, FIFTY, FIFTY)
    assert (newest.action, newest.subject) == ("topup:self:take", str(order.id))
    await expect_kept_is_derived(world)
    async with unit_of_work(other.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM topups_order") == 0
        assert await work.fetchval("SELECT count(*) FROM topups_shift") == 0


async def test_the_same_request_twenty_times_at_once_takes_the_money_once(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    shift = await opened(world)
    taken = await asyncio.gather(*(take(world, key="desk-key-1") for _ in range(20)))
    assert len({order.id for order in taken}) == 1
    assert {order.state for order in taken} == {OrderState.PAID}
    assert await holds(world, AccountKind.CASH_DESK, shift.id) == "150.00"
    for wrong in ({"yuan": "51"}, {"slip": "A0001"}):
        with pytest.raises(Conflict, match="key was used"):
            await take(world, key="desk-key-1", **wrong)  # type: ignore[arg-type] # names are its own arguments
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE accounts_account SET closing_at = now()")
    again = await take(world, key="desk-key-1")  # whose answer was lost before the closing began
    assert again.id == taken[0].id
    with pytest.raises(Conflict, match="closed"):
        await take(world)


async def test_a_slip_is_used_once_in_a_project_and_its_money_is_not_in_the_drawer(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    shift = await opened(world)
    done = await asyncio.gather(
        *(take(world, slip="a1234567", key=f"slip-key-{n}") for n in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Order) for one in done) == 1
    assert sum(isinstance(one, Conflict) for one in done) == 9
    assert await holds(world, AccountKind.CARD_SLIPS) == "50.00"
    assert await holds(world, AccountKind.CASH_DESK, shift.id) == "100.00"
    there = await cloud(await make_project(world))
    await opened(there)
    assert (await take(there, slip="A1234567")).channel is Channel.CARD, "another project's slips"
    theirs = await cloud(worlds[1])
    await opened(theirs)
    assert (await take(theirs, slip="A1234567")).channel is Channel.CARD


async def test_money_is_taken_only_by_who_may_in_an_open_shift_and_within_the_limits(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    with pytest.raises(Conflict, match="open a shift"):
        await take(world)
    await opened(world)
    with pytest.raises(Conflict, match="open a shift"):
        await take(world, scope=second(world))
    reader = admin_scope(
        world.group_id, permissions=frozenset({"account:read", "topup:read", "project:read"})
    )
    with pytest.raises(Forbidden):
        await take(world, scope=reader)
    with pytest.raises(NotFound):
        await take(world, scope=worlds[1].scope)
    for wrong in ("0.99", "5000.01", "10.001"):
        with pytest.raises(InvalidInput):
            await take(world, wrong)
    for slip in ("", "a-1", "x" * 33):
        with pytest.raises(InvalidInput, match="slip"):
            await take(world, slip=slip)
    empty = await make_account(world, no="100009")
    with pytest.raises(Conflict, match="no such meter"):
        await take(world, account_id=empty.id)
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE accounts_account SET closed_at = now()")
    with pytest.raises(Conflict, match="closed"):
        await take(world)
    async with unit_of_work(world.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM topups_order") == 0


async def test_a_desk_and_an_operator_have_one_open_shift(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    tried = await asyncio.gather(
        *(opened(world, scope=second(world, f"w{n}")) for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(one, Shift) for one in tried) == 1
    with pytest.raises(Conflict, match="desk has an open shift"):
        await opened(world)
    await opened(world, desk="二号窗口")
    with pytest.raises(Conflict, match="operator has an open shift"):
        await opened(world, desk="三号窗口")
    for wrong in ({"desk": "  "}, {"desk": "x" * 33}, {"change": "-1"}, {"change": "0.001"}):
        with pytest.raises(InvalidInput):
            await opened(world, **wrong)  # type: ignore[arg-type] # names are its own arguments


async def test_a_count_that_differs_is_booked_and_a_case_and_the_drawer_is_empty_then(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    shift = await opened(world)
    await take(world)
    await take(world, "20", slip="B0001")
    closed = await close(world, shift, "149.5")
    assert closed.count is not None
    assert (closed.count.book, closed.count.difference) == (
        Money.parse("150"),
        Money.parse("-0.5"),
    )
    assert await holds(world, AccountKind.CASH_DESK, shift.id) == "0.00"
    assert await holds(world, AccountKind.CASH_SAFE) == "49.50"
    assert await holds(world, AccountKind.CASH_DIFFERENCE) == "0.50"
    (case,) = await open_cases(world)
    assert (case.kind, case.detail["difference"], case.detail["operator"]) == (
        "CASH_DIFFERENCE",
        "-0.50",
        "ling",
    )
    with pytest.raises(Conflict, match="closed before"):
        await close(world, shift, "150")
    with pytest.raises(Conflict, match="open a shift"):
        await take(world)
    with pytest.raises(asyncpg.CheckViolationError):
        async with unit_of_work(world.group_id) as work:
            await work.execute("UPDATE topups_shift SET counted_fen = 15000")
    too_much = await opened(world)
    await close(world, too_much, "101")
    assert await holds(world, AccountKind.CASH_DIFFERENCE) == "-0.50"
    await expect_kept_is_derived(world)


async def test_while_a_drawer_is_counted_nothing_falls_into_it(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    for _ in range(5):
        shift = await opened(world, change="0")
        done = await asyncio.gather(
            close(world, shift, "0"), *(take(world) for _ in range(6)), return_exceptions=True
        )
        taken = sum(isinstance(one, Order) for one in done)
        (closed,) = [one for one in done if isinstance(one, Shift)]
        assert closed.count is not None
        assert closed.count.book == Money.of_fen(5000 * taken)
        assert await holds(world, AccountKind.CASH_DESK, shift.id) == "0.00"


async def test_a_shift_is_handed_over_with_just_what_was_counted(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    shift = await opened(world)
    await take(world)
    at = world.clock.now()
    async with unit_of_work(world.group_id) as work:
        made = [
            await tenancy.add_operator(
                work, scope=world.scope, login=login, name=login, password_hash="-", at=at
            )
            for login in ("next", "guest")
        ]
        await tenancy.grant(
            work,
            scope=world.scope,
            operator_id=made[0].id,
            role="cashier",
            project_id=world.project.id,
            at=at,
        )

    async def give(to: UUID) -> Shift:
        return await hand_over(
            scope=world.scope, shift_id=shift.id, counted=Money.parse("150"), to=to, note="", at=at
        )

    for to, error in ((made[1].id, Forbidden), (shift.id, NotFound)):
        with pytest.raises(error):
            await give(to)
    following = await give(made[0].id)
    assert (following.desk, following.operator_name, following.taken_from) == (
        shift.desk,
        "next",
        shift.id,
    )
    assert await holds(world, AccountKind.CASH_DESK, shift.id) == "0.00"
    assert await holds(world, AccountKind.CASH_DESK, following.id) == "150.00"
    assert await holds(world, AccountKind.CASH_SAFE) == "-100.00"
    with pytest.raises(Conflict):
        await give(made[0].id)
    assert await open_cases(world) == []


async def test_cash_goes_back_as_cash_out_of_the_own_drawer_once(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    shift = await opened(world, change="0")
    order = await take(world)
    refund = await ask(world, order, "30")
    assert (refund.state, refund.at_counter) == (RefundState.APPROVED, True)
    at = world.clock.now()

    async def fetch(scope: Scope, slip: str | None = None) -> object:
        return await pay_out(scope=scope, refund_id=refund.id, slip_no=slip, at=at)

    with pytest.raises(Conflict, match="open a shift"):
        await fetch(second(world))
    with pytest.raises(InvalidInput, match="no slip"):
        await fetch(world.scope, "A0001")
    done = await asyncio.gather(*(fetch(world.scope) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in done) == 9
    assert await holds(world, AccountKind.CASH_DESK, shift.id) == "20.00"
    async with unit_of_work(world.group_id) as work:
        due = await owed(work, kind=AccountKind.REFUND_DUE, refs=[world.account.id])
        purse = await owed(work, kind=AccountKind.PURSE, refs=[world.account.id])
        lines = (await taken_in_shifts(work, shift_ids=[shift.id]))[shift.id]
    assert (due[world.account.id], purse[world.account.id]) == (ZERO, Money.parse("20"))
    assert [(line.channel, line.paid_out, line.count, str(line.amount)) for line in lines] == [
        ("CASH", False, 1, "50.00"),
        ("CASH", True, 1, "30.00"),
    ]
    await close(world, shift, "20")
    assert await open_cases(world) == []


async def test_a_drawer_pays_out_no_more_than_it_holds(worlds: tuple[World, World]) -> None:
    world = await cloud(worlds[0])
    await allow_alone(world, fen=10**6)
    shift = await opened(world, change="0")
    order = await take(world)
    await close(world, shift, "50")
    later = await opened(world, change="30")
    refunds = [await ask(world, order, "20") for _ in range(2)]
    done = await asyncio.gather(
        *(
            pay_out(scope=world.scope, refund_id=one.id, slip_no=None, at=world.clock.now())
            for one in refunds
        ),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in done) == ["Conflict", "Refund"]
    async with unit_of_work(world.group_id) as work:
        assert str(await in_drawer(work, shift_id=later.id)) == "10.00"


async def test_a_card_refund_needs_its_slip_and_lowers_what_the_bank_owes(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    await opened(world)
    refund = await ask(world, await take(world, slip="C0001"), "50")
    at = world.clock.now()
    with pytest.raises(InvalidInput, match="slip"):
        await pay_out(scope=world.scope, refund_id=refund.id, slip_no=None, at=at)
    paid = await pay_out(scope=world.scope, refund_id=refund.id, slip_no="R0001", at=at)
    assert paid.state is RefundState.DONE
    assert await holds(world, AccountKind.CARD_SLIPS) == "0.00"


async def test_a_refund_by_a_channel_is_never_paid_out_in_cash(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await opened(world)
    refund = await ask(world, await cloud_order(world), "10")
    with pytest.raises(Conflict, match="came by a desk"):
        await pay_out(scope=world.scope, refund_id=refund.id, slip_no=None, at=world.clock.now())


async def test_what_nobody_fetches_is_a_case_and_can_be_taken_back(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    await opened(world)
    refund = await ask(world, await take(world), "30")
    async with unit_of_work(world.group_id) as work:
        await tend_refunds(work, at=world.clock.now() + timedelta(days=2))
    assert await open_cases(world) == []
    async with unit_of_work(world.group_id) as work:
        await tend_refunds(work, at=world.clock.now() + timedelta(days=3))
    assert [case.kind for case in await open_cases(world)] == ["REFUND_STUCK"]
    back = await refuse_refund(
        scope=world.scope, refund_id=refund.id, note="never came", at=world.clock.now()
    )
    assert back.state is RefundState.FAILED
    async with unit_of_work(world.group_id) as work:
        purse = await owed(work, kind=AccountKind.PURSE, refs=[world.account.id])
    assert purse[world.account.id] == FIFTY
    await expect_kept_is_derived(world)


async def test_a_receipt_is_printed_once_and_every_further_print_is_a_copy(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    await opened(world)
    order = await take(world, slip="D0001")
    at = world.clock.now()
    copies = [
        (await print_receipt(scope=world.scope, order_id=order.id, at=at)).copy for _ in range(3)
    ]
    assert copies == [1, 2, 3]
    async with unit_of_work(world.group_id) as work:
        shown = await receipt(work, scope=world.scope, order_id=order.id)
    assert (shown.paid, shown.credited, shown.slip_no, shown.cashier, shown.desk) == (
        FIFTY,
        FIFTY,
        "D0001",
        "ling",
        "一号窗口",
    )
    with pytest.raises(NotFound):
        await print_receipt(scope=worlds[1].scope, order_id=order.id, at=at)


async def test_arrears_that_the_money_paid_off_first_stand_on_the_receipt_line_by_line(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    at = world.clock.now()
    lines = {AccountKind.ENERGY: 123_400, AccountKind.FIXED_FEE: 50_000}
    async with unit_of_work(world.group_id) as work:
        await charge(
            work,
            project_id=world.project.id,
            business_key="charge:arrears",
            charges=[PurseCharge.of(world.account.id, lines)],
            at=at,
        )
    await opened(world)
    order = await take(world)
    printed = await print_receipt(scope=world.scope, order_id=order.id, at=at)
    assert [(line.name, str(line.amount)) for line in printed.recovered] == [
        ("补缴电费", "12.34"),
        ("补缴固定费", "5.00"),
    ]
    assert (str(printed.paid), str(printed.credited)) == ("50.00", "32.66")
    assert "其中 补缴电费" in ticket(printed)
    with pytest.raises(Conflict, match=r"at most 32\.66"):
        await ask(world, order, "32.67")
    await ask(world, order, "32.66")
    await expect_kept_is_derived(world)
