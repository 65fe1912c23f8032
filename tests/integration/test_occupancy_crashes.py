"""The process dies at each commit of a replacement, a move and a closing, right before and right after it:
whoever comes next finishes, and no money is lost or doubled (C12)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from backend.accounts.models import Account
from backend.journeys.takedown import move_account
from backend.kernel import failpoints
from backend.kernel.failpoints import Moment, Place, SimulatedCrash
from backend.ledger.rules import AccountKind
from backend.sandbox.embedded.services import EmbeddedServices
from workers.janitor import tidy_group

from .household import Street, expect_sound, streets
from .world import World

THIRTY = 3000

# Each dies at dozens of commits, one after another: minutes on a busy machine.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def street(
    worlds: tuple[World, World], database: EmbeddedServices, tmp_path: Path
) -> AsyncIterator[Street]:
    """A long street, and another group's beside it where nothing happens."""
    async with streets(worlds, database, tmp_path, units=200) as (ours, theirs):
        yield ours
        assert await theirs.value("SELECT count(*) FROM ledger_entry") == 0


class Death:
    """Strikes at the n-th place that is reached; counts them all."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.reached = 0

    def __call__(self, place: Place, moment: Moment) -> None:
        """Die here, when it is the one."""
        self.reached += 1
        if self.reached == self.at:
            raise SimulatedCrash(f"{place.function} {moment}")


async def with_death(street: Street, act: Callable[[], Awaitable[object]], at: int) -> bool:
    """Do something and let the worker work until the process dies at the `at`-th place; then a next
    process goes on, with the janitor, until nothing is due. False when there was no such place."""
    death = Death(at)
    with failpoints.armed(death):
        try:
            await act()
            await street.work()
        except SimulatedCrash:
            pass
    struck = death.reached >= at
    if struck:
        street.clock.advance(timedelta(seconds=35))  # leases run out
        await act()  # the operator saw no answer, and asks again with the same key
        await tidy_group(group_id=street.world.group_id, at=street.clock.now())
    await street.pass_time(minutes=20, steps=5)
    return struck


async def _served(street: Street, number: int) -> tuple[Account, int, int]:
    """A new household with 30 yuan at its meter, and the meter that is to follow."""
    old, new = 2 * number, 2 * number + 1
    account = await street.household(f"5{number:05d}", old)
    await street.register(new)
    await street.buy(account, THIRTY, unit=old)
    await street.work()
    assert street.wallet(old) == (THIRTY, 1)
    return account, old, new


async def test_a_replacement_survives_death_at_each_commit(street: Street) -> None:
    number, struck = 0, True
    while struck:
        number += 1
        _account, old, new = await _served(street, number)

        async def ask(old: int = old, new: int = new, key: str = f"replace-{number}") -> object:
            return await street.replace(old, new, key=key)

        struck = await with_death(street, ask, number)
        assert street.wallet(new) == (THIRTY, 1), number
        assert (await street.book())[AccountKind.METER_WALLET].fen == number * THIRTY
        await expect_sound(street)
        assert await street.cases() == []
    assert number > 12, "fewer commits than a replacement has"


async def test_a_move_survives_death_at_each_commit(street: Street) -> None:
    number, struck = 0, True
    while struck:
        number += 1
        account, old, new = await _served(street, number)

        async def ask(
            account: Account = account,
            old: int = old,
            new: int = new,
            key: str = f"move-house-{number}",
        ) -> object:
            return await move_account(
                scope=street.world.scope,
                account_id=account.id,
                area_id=street.world.area.id,
                meters_to={street.meters[old].id: street.meters[new].id},
                cut=True,
                ask=street.ask(key=key),
            )

        struck = await with_death(street, ask, number)
        assert street.wallet(new) == (THIRTY, 1), number
        assert not street.box(old).state().closed, number
        await expect_sound(street)
        assert await street.cases() == []
    assert number > 16, "fewer commits than a move has"


async def test_a_closing_survives_death_at_each_commit(street: Street) -> None:
    number, struck = 0, True
    while struck:
        number += 1
        account, _old, _new = await _served(street, number)

        async def ask(account: Account = account, key: str = f"closing-{number}") -> object:
            return await street.close(account, key=key)

        struck = await with_death(street, ask, number)
        closed = "SELECT closed_at IS NOT NULL FROM accounts_account WHERE id = $1"
        assert await street.value(closed, account.id), number
        back = "SELECT coalesce(sum(amount_fen), 0)::bigint FROM topups_refund WHERE state = 'DONE'"
        assert await street.value(back) == number * THIRTY
        book = await street.book()
        assert not any(book[kind] for kind in (AccountKind.CHANNEL, AccountKind.PURSE))
        await expect_sound(street)
        assert await street.cases() == []
    assert number > 20, "fewer commits than a closing has"
