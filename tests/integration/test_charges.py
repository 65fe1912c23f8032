"""A month to date is charged by differences: right whatever the order in which readings come (C13-C17)."""

from __future__ import annotations

from backend.charges.rules import Reason
from backend.kernel.money import Money
from backend.ledger.rules import AccountKind

from .charged import make_home, totals
from .test_ledger import expect_kept_is_derived
from .world import World


async def test_what_is_read_is_charged_once_from_the_opening_on(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home, other = await make_home(ours), await make_home(theirs)
    await home.pay("10")
    first = home.reading(1, 500)
    assert await home.read(first) == 1
    assert await home.read(first) == 0
    assert await home.read(home.reading(2, 1_500)) == 1
    charges = await home.charges()
    assert totals(charges) == [3_000, 6_000]  # 0.5 and 1 kWh at 0.60
    assert [charge.seq for charge in charges] == [1, 2]
    assert [(charge.from_total, charge.to_total) for charge in charges] == [
        (1_000_000, 1_000_500),
        (1_000_500, 1_001_500),
    ]
    assert await home.owed() == Money.parse("9.10")
    assert await other.charges() == []
    await expect_kept_is_derived(ours)


async def test_a_late_reading_changes_nothing_where_one_price_holds(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    home = await make_home(ours)
    await home.read(home.reading(4, 4_000))
    await home.read(home.reading(2, 1_000))
    assert await home.charged() == Money.parse("2.4")
    assert [charge.reason for charge in await home.charges()] == [Reason.USE]


async def test_what_the_purse_cannot_pay_stands_in_arrears(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    home = await make_home(ours)
    await home.pay("1")
    await home.read(home.reading(1, 3_000))
    assert await home.owed() == Money(0)
    assert await home.owed(AccountKind.ENERGY_ARREARS) == Money.parse("0.8")
    await expect_kept_is_derived(ours)
