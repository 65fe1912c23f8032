"""Binding by a code to the registered phone: no guessing, no bombing, no finding out what exists."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from backend.accounts.models import Customer
from backend.accounts.queries import bound_accounts, is_bound
from backend.accounts.rules import CODE_LIFE, CODE_TRIES, CODES_PER_ACCOUNT_A_DAY
from backend.audit.queries import entries
from backend.journeys.binding import BindingStarted, confirm_binding, start_binding, unbind
from backend.kernel.db import unit_of_work
from backend.kernel.errors import DomainError, InvalidInput, NotFound, RateLimited

from .world import World, make_account, make_customer

UNKNOWN = "999999"


async def start(world: World, customer: Customer, *, no: str = "100001") -> BindingStarted:
    """The customer asks to bind an account number."""
    return await start_binding(
        world.ports, group_id=world.group_id, customer_id=customer.id, account_no=no
    )


async def confirm(world: World, customer: Customer, challenge_id: UUID, code: str) -> None:
    """The customer types a code."""
    await confirm_binding(
        world.ports,
        group_id=world.group_id,
        customer_id=customer.id,
        challenge_id=challenge_id,
        code=code,
    )


async def codes(world: World) -> list[tuple[str, str]]:
    """(phone, code) of every message on its way, oldest first."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT payload FROM outbox_event WHERE topic = 'message.send' ORDER BY created_at, id"
        )
    return [(row["payload"]["address"], row["payload"]["param_code"]) for row in rows]


async def bound(world: World, customer: Customer) -> list[str]:
    """Numbers of the accounts the customer is bound to."""
    async with unit_of_work(world.group_id) as work:
        return [a.no for a in await bound_accounts(work, customer_id=customer.id)]


def wrong(code: str) -> str:
    """Another code."""
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def test_the_code_goes_to_the_registered_phone_and_binds_this_account_only(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    await make_account(ours, no="100002")
    customer = await make_customer(ours)
    started = await start(ours, customer)
    assert started.masked_phone == "138****8000"
    ((phone, code),) = await codes(ours)
    assert phone == ours.account.phone
    assert await codes(theirs) == []
    await confirm(ours, customer, started.challenge_id, code)
    assert await bound(ours, customer) == ["100001"]
    async with unit_of_work(ours.group_id) as work:
        (newest,) = await entries(work, before_seq=None, limit=1)
    assert (newest.action, newest.actor.kind) == ("account:customer:bind", "customer")
    with pytest.raises(NotFound):
        await confirm(ours, customer, started.challenge_id, code)  # a code works once


async def test_a_wrong_code_is_counted_and_the_sixth_try_is_refused_even_if_right(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    customer = await make_customer(ours)
    started = await start(ours, customer)
    ((_, code),) = await codes(ours)
    for _ in range(CODE_TRIES):
        with pytest.raises(InvalidInput):
            await confirm(ours, customer, started.challenge_id, wrong(code))
    for guess in (code, wrong(code)):
        with pytest.raises(RateLimited):
            await confirm(ours, customer, started.challenge_id, guess)
    assert await bound(ours, customer) == []


async def test_the_fifth_try_may_still_be_right(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    customer = await make_customer(ours)
    started = await start(ours, customer)
    ((_, code),) = await codes(ours)
    for _ in range(CODE_TRIES - 1):
        with pytest.raises(InvalidInput):
            await confirm(ours, customer, started.challenge_id, wrong(code))
    await confirm(ours, customer, started.challenge_id, code)
    assert await bound(ours, customer) == ["100001"]


async def test_a_hundred_guesses_at_once_are_still_only_five_tries(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    customer = await make_customer(ours)
    started = await start(ours, customer)
    ((_, code),) = await codes(ours)

    async def guess() -> str:
        try:
            await confirm(ours, customer, started.challenge_id, wrong(code))
        except DomainError as error:
            return error.code
        return "BOUND"

    answers = await asyncio.gather(*(guess() for _ in range(100)))
    assert answers.count("INVALID_INPUT") == CODE_TRIES
    assert answers.count("RATE_LIMITED") == 95


async def test_an_expired_code_and_another_customers_code_do_not_bind(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    customer, other = await make_customer(ours), await make_customer(ours, external_id="o-li")
    foreign = await make_customer(theirs)
    started = await start(ours, customer)
    ((_, code),) = await codes(ours)
    for world, who in ((ours, other), (theirs, foreign)):
        with pytest.raises(NotFound):
            await confirm(world, who, started.challenge_id, code)
    ours.clock.advance(CODE_LIFE)
    with pytest.raises(NotFound):
        await confirm(ours, customer, started.challenge_id, code)
    assert await bound(ours, customer) == await bound(ours, other) == []


async def test_five_codes_a_day_go_to_an_account_whoever_asks(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    for number in range(CODES_PER_ACCOUNT_A_DAY):
        await start(ours, await make_customer(ours, external_id=f"o-{number}"))
    sixth = await make_customer(ours, external_id="o-sixth")
    with pytest.raises(RateLimited):
        await start(ours, sixth)
    assert len(await codes(ours)) == CODES_PER_ACCOUNT_A_DAY
    await start(theirs, await make_customer(theirs))  # the same number of another group
    ours.clock.advance(timedelta(days=1))
    await start(ours, sixth)
    assert len(await codes(ours)) == CODES_PER_ACCOUNT_A_DAY + 1


async def test_thirty_requests_at_once_send_no_more_than_five_codes(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    customers = [await make_customer(ours, external_id=f"o-{n}") for n in range(30)]
    outcomes = await asyncio.gather(
        *(start(ours, customer) for customer in customers), return_exceptions=True
    )
    assert sum(isinstance(o, RateLimited) for o in outcomes) == 25
    assert len(await codes(ours)) == CODES_PER_ACCOUNT_A_DAY


async def test_a_customer_asks_for_ten_codes_a_day_whatever_the_numbers(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    customer = await make_customer(ours)
    for number in range(10):
        await start(ours, customer, no=f"70000{number}")
    with pytest.raises(RateLimited):
        await start(ours, customer)
    assert await codes(ours) == []


async def test_an_unknown_number_is_answered_like_a_known_one(worlds: tuple[World, World]) -> None:
    """The decoy phone is the same each time, differs by number and group, and no code fits it."""
    ours, theirs = worlds
    customer = await make_customer(ours)
    first, again = await start(ours, customer, no=UNKNOWN), await start(ours, customer, no=UNKNOWN)
    assert first.masked_phone == again.masked_phone
    assert first.masked_phone[0] == "1"
    assert first.masked_phone[3:7] == "****"
    others = {(await start(ours, customer, no=f"99999{n}")).masked_phone for n in range(6)}
    assert len(others) == 6
    foreign = await start(theirs, await make_customer(theirs), no=UNKNOWN)
    assert foreign.masked_phone != first.masked_phone
    assert await codes(ours) == []
    with pytest.raises(InvalidInput, match="the code is wrong"):
        await confirm(ours, customer, first.challenge_id, "000000")
    known = await start(ours, customer)
    ((_, code),) = await codes(ours)
    with pytest.raises(InvalidInput, match="the code is wrong"):
        await confirm(ours, customer, known.challenge_id, wrong(code))


async def test_the_unknown_number_runs_into_the_same_limit(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    for number in range(CODES_PER_ACCOUNT_A_DAY):
        await start(ours, await make_customer(ours, external_id=f"o-{number}"), no=UNKNOWN)
    with pytest.raises(RateLimited):
        await start(ours, await make_customer(ours, external_id="o-last"), no=UNKNOWN)


@pytest.mark.parametrize("no", ["", "12345", "1000011234567", "10000x", "100001\n"])
async def test_what_is_no_account_number_sends_nothing(
    worlds: tuple[World, World], no: str
) -> None:
    ours, _theirs = worlds
    with pytest.raises(InvalidInput):
        await start(ours, await make_customer(ours), no=no)
    assert await codes(ours) == []


async def test_binding_twice_is_one_binding_and_unbinding_ends_it(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    customer = await make_customer(ours)
    for number in (1, 2):
        started = await start(ours, customer)
        await confirm(ours, customer, started.challenge_id, (await codes(ours))[number - 1][1])
        ours.clock.advance(timedelta(minutes=1))
    assert await bound(ours, customer) == ["100001"]
    ends = [
        await unbind(
            ours.ports, group_id=ours.group_id, customer_id=customer.id, account_id=ours.account.id
        )
        for _ in range(2)
    ]
    assert ends == [True, False]
    assert await bound(ours, customer) == []
    async with unit_of_work(theirs.group_id) as work:
        assert not await is_bound(work, customer_id=customer.id, account_id=ours.account.id)
    with pytest.raises(NotFound):
        await unbind(
            ours.ports,
            group_id=ours.group_id,
            customer_id=customer.id,
            account_id=theirs.account.id,
        )
