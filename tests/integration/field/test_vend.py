"""Crediting a meter over real sockets (C8 to C10)."""

from __future__ import annotations

import pytest

from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from workers.drivers.ports import Relay, Wallet
from workers.links.errors import NoAnswer
from workers.protocols.errors import CrcError, MeterRefused

from .conftest import Field

TWENTY = Wallet(Money.parse("20.00"), 4)
SEVENTY = Wallet(Money.parse("70.00"), 5)
FIFTY = Money.parse("50.00")


async def test_the_right_count_is_credited_once(field: Field) -> None:
    driver = field.driver()
    assert await driver.wallet() == TWENTY
    await driver.credit(amount=FIFTY, purchase_count=5)
    assert await driver.wallet() == SEVENTY
    assert [(sale.purchase_count, sale.amount_fen) for sale in await field.meter().sales()] == [
        (5, 5000)
    ]


async def test_a_repeated_purchase_count_is_refused_and_the_wallet_is_unchanged(
    field: Field,
) -> None:
    driver = field.driver()
    await driver.credit(amount=FIFTY, purchase_count=5)
    with pytest.raises(MeterRefused) as refused:
        await driver.credit(amount=FIFTY, purchase_count=5)
    assert refused.value.refusal == 3
    assert await driver.wallet() == SEVENTY


@pytest.mark.parametrize("count", [1, 3, 6, 65535])
async def test_a_wrong_purchase_count_is_refused_and_the_wallet_is_unchanged(
    field: Field, count: int
) -> None:
    driver = field.driver()
    with pytest.raises(MeterRefused):
        await driver.credit(amount=FIFTY, purchase_count=count)
    assert await driver.wallet() == TWENTY


@pytest.mark.parametrize("amount", ["0", "-1.00", "0.0050", "42949672.96"])
async def test_an_amount_that_is_no_sale_never_reaches_the_meter(field: Field, amount: str) -> None:
    field.meter().faults.drop_answers = 1  # would turn any exchange into NoAnswer
    with pytest.raises(InvalidInput):
        await field.driver().credit(amount=Money.parse(amount), purchase_count=5)
    field.meter().faults.drop_answers = 0
    assert await field.driver().wallet() == TWENTY


async def test_a_lost_answer_leaves_the_money_in_the_meter_and_the_count_tells(
    field: Field,
) -> None:
    driver = field.driver()
    field.meter().faults.drop_write_answers = 1
    with pytest.raises(NoAnswer):
        await driver.credit(amount=FIFTY, purchase_count=5)
    assert await driver.wallet() == SEVENTY


async def test_a_lost_request_leaves_the_meter_as_it_was_and_the_count_tells(field: Field) -> None:
    driver = field.driver()
    field.meter().faults.lose_requests = 1
    with pytest.raises(NoAnswer):
        await driver.credit(amount=FIFTY, purchase_count=5)
    assert await driver.wallet() == TWENTY
    await driver.credit(amount=FIFTY, purchase_count=5)
    assert await driver.wallet() == SEVENTY


async def test_a_corrupt_answer_is_not_believed_but_the_meter_holds_the_money(
    field: Field,
) -> None:
    driver = field.driver()
    field.meter().faults.corrupt_answers = 1
    with pytest.raises(CrcError):
        await driver.credit(amount=FIFTY, purchase_count=5)
    assert await driver.wallet() == SEVENTY


async def test_a_sale_closes_the_relay_that_arrears_opened(field: Field) -> None:
    driver = field.driver(2)
    before = await driver.read()
    assert (before.relay, before.flags.arrears) == (Relay.OPEN, True)
    await driver.credit(amount=FIFTY, purchase_count=1)
    after = await driver.read()
    assert (after.relay, after.flags.arrears) == (Relay.CLOSED, False)
    assert (after.remaining, after.purchase_count) == (FIFTY, 1)


async def test_a_sale_does_not_close_a_relay_that_was_tripped_by_command(field: Field) -> None:
    driver = field.driver(2)
    await driver.trip()
    await driver.credit(amount=FIFTY, purchase_count=1)
    assert (await driver.read()).relay is Relay.OPEN
    await driver.release()
    assert (await driver.read()).relay is Relay.CLOSED
