"""A worker dies around a write, a meter refuses or says it twice: the meter's own word decides (C8-C10).

Reference/trust.md sections 1 and 11 (O6, O11): after every crash the first step is to ask the meter, and
a refusal is success only when count and balance say so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.accounts.models import Account
from backend.kernel import failpoints
from backend.kernel.failpoints import Moment, Place, SimulatedCrash
from backend.kernel.money import ZERO, Money
from backend.ledger.rules import AccountKind
from backend.sandbox.embedded.services import EmbeddedServices
from workers.virtual import state as meter_state
from workers.virtual.state import MeterState, SaleRefused

from .household import Street, expect_sound, streets
from .world import World

FIFTY = Money.parse("50")
DEATHS = [
    ("about_to_write", Moment.COMMITTING),
    ("about_to_write", Moment.COMMITTED),
    ("verified", Moment.COMMITTING),  # the meter has acknowledged, nobody has written it down
    ("verified", Moment.COMMITTED),
]


@pytest.fixture
async def sold(
    worlds: tuple[World, World], database: EmbeddedServices, tmp_path: Path
) -> AsyncIterator[tuple[Street, Account]]:
    """A paid order of 50 yuan that waits for the worker; nothing ever happens in the other street."""
    async with streets(worlds, database, tmp_path, units=2) as (ours, theirs):
        account = await ours.household("300001", 2)
        await ours.buy(account, 5000, unit=2)
        yield ours, account
        assert await theirs.value("SELECT count(*) FROM control_vend") == 0
        await expect_sound(ours)


async def state(street: Street) -> str:
    """The vend's."""
    found: str = await street.value("SELECT state FROM control_vend")
    return found


async def at_meter(street: Street) -> Money:
    """What the book says meters hold."""
    return (await street.book())[AccountKind.METER_WALLET]


@pytest.mark.parametrize(("function", "moment"), DEATHS)
async def test_killed_around_a_write_the_sale_is_in_the_meter_and_in_the_book_once(
    sold: tuple[Street, Account], function: str, moment: Moment
) -> None:
    street, _ = sold

    def strike(place: Place, reached: Moment) -> None:
        if (place.function, reached) == (function, moment):
            raise SimulatedCrash(str(place))

    with failpoints.armed(strike), pytest.raises(SimulatedCrash):
        await street.work()
    if function == "verified":
        assert street.wallet(2) == (5000, 1), "the meter had it before the process died"
    await street.pass_time(minutes=1)
    assert (street.wallet(2), await state(street)) == ((5000, 1), "VERIFIED")
    assert len(await street.box(2).sales()) == 1
    assert await at_meter(street) == FIFTY
    assert await street.cases() == []


async def test_a_meter_that_refuses_is_never_called_credited(
    sold: tuple[Street, Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    street, _ = sold

    def refuse(*_: object, **__: object) -> MeterState:
        raise SaleRefused("it holds too much")

    monkeypatch.setattr("workers.virtual.prepaid.take_sale", refuse)
    await street.work()
    assert (street.wallet(2), await state(street)) == ((0, 0), "STOPPED")
    assert await at_meter(street) == ZERO
    assert await street.cases() == ["VEND_STOPPED"]


async def test_a_refusal_of_what_the_meter_took_before_is_success_by_its_count_and_balance(
    sold: tuple[Street, Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    """重复充值: the first acknowledgement was lost on the bus, somebody's repeat is answered by a refusal."""
    street, _ = sold
    box = street.box(2)
    honest, tries = meter_state.take_sale, list[int]()

    def repeated(
        before: MeterState, *, amount_fen: int, purchase_count: int, count_off: int
    ) -> MeterState:
        tries.append(purchase_count)
        box.take_up(box.memory() | {"remaining_hao": 500_000, "purchase_count": 1})
        return honest(
            box.state(), amount_fen=amount_fen, purchase_count=purchase_count, count_off=count_off
        )

    monkeypatch.setattr("workers.virtual.prepaid.take_sale", repeated)
    await street.work()
    assert tries == [1]
    assert (street.wallet(2), await state(street)) == ((5000, 1), "VERIFIED")
    assert await at_meter(street) == FIFTY
    assert await street.cases() == []
