"""Paid by WeChat and given back: payer, stand-in, ledger and purse tell one story (C4, C5, C12)."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from schema.scalars import ref

from .town import Town, until

_LOGIN = (
    "mutation($l: String!, $p: String!) {"
    " login(login: $l, password: $p) { ... on SignedIn { token } } }"
)
_REQUEST = """mutation($t: ID!, $a: Money!, $k: String!) {
  requestRefund(topUp: $t, amount: $a, reason: "moved out", idempotencyKey: $k) {
    __typename ... on Refund { id refundNo state needsSecond } ... on Problem { message } } }"""


async def _paid_into_the_purse(town: Town) -> str:
    """A top-up of 50 yuan whose money the cloud holds; gives the operator's id of it."""
    await town.value("UPDATE metering_meter SET credit_mode = 'CLOUD' RETURNING 1")
    await town.bind()
    order = await town.order(await town.link())
    await town.pay(order)

    async def booked() -> str | None:
        found: str | None = await town.value(
            "SELECT id::text FROM topups_order WHERE state = 'PAID' AND order_no = $1", order
        )
        return found

    await until(booked, "the payment in the book")
    return ref("TopUp", UUID(await booked()))


async def _ask(town: Town, topup: str, yuan: str, key: str) -> dict[str, Any]:
    login = f"admin@{town.ours.code}"
    signed = await town.graphql(_LOGIN, l=login, p=town.secrets.passwords[login])
    token = str(signed["login"]["token"])
    data = await town.graphql(_REQUEST, token, t=topup, a=yuan, k=key)
    answer: dict[str, Any] = data["requestRefund"]
    return answer


async def _ended(town: Town, refund_no: str, state: str) -> None:
    async def there() -> bool | None:
        found = await town.value("SELECT state FROM topups_refund WHERE refund_no = $1", refund_no)
        return True if found == state else None

    await until(there, f"the refund {state}")


async def _story(town: Town) -> dict[str, int]:
    """Fen: given back by the stand-in's own book, and what our book says of channel, purse and lot."""
    path = f"/wechat-pay/control/refunds?mchid={town.ours.sites[0].mchid}"
    theirs = (await town.control(path))["refunds"]
    kinds = {
        kind: int(
            await town.value(
                "SELECT coalesce(sum(p.amount_hao), 0)::bigint FROM ledger_posting p"
                " JOIN ledger_account a ON a.group_id = p.group_id AND a.id = p.account_id"
                " WHERE a.kind = $1",
                kind,
            )
        )
        for kind in ("CHANNEL", "PURSE", "REFUND_DUE")
    }
    lots = await town.value("SELECT sum(amount_hao - used_hao)::bigint FROM ledger_lot")
    return {
        "back": sum(one["refund"] for one in theirs if one["status"] == "SUCCESS"),
        "times": len(theirs),
        "channel": kinds["CHANNEL"] // 100,
        "purse": -kinds["PURSE"] // 100,
        "due": -kinds["REFUND_DUE"] // 100,
        "lot": int(lots) // 100,
    }


_HALF = {"back": 2500, "times": 1, "channel": 2500, "purse": 2500, "due": 0, "lot": 2500}


async def test_half_of_a_top_up_goes_back_and_both_books_agree(town: Town) -> None:
    topup = await _paid_into_the_purse(town)
    asked = await _ask(town, topup, "25.00", "refund-flow-1")
    assert asked["needsSecond"] is False
    await _ended(town, asked["refundNo"], "DONE")
    assert await _story(town) == _HALF
    refused = await _ask(town, topup, "25.01", "refund-flow-2")
    assert "at most 25.00 yuan" in refused["message"]
    assert await town.value("SELECT count(*) FROM topups_refund", group=town.theirs) == 0


async def test_lost_and_broken_answers_of_the_channel_move_the_money_once(town: Town) -> None:
    topup = await _paid_into_the_purse(town)
    await town.control("/wechat-pay/control/faults", {"drop_answer": 2, "unsigned_answer": 1})
    asked = await _ask(town, topup, "25.00", "refund-flow-1")
    await _ended(town, asked["refundNo"], "DONE")
    assert await _story(town) == _HALF


async def test_a_slow_refund_ends_when_the_channel_tells_and_told_twice_ends_once(
    town: Town,
) -> None:
    topup = await _paid_into_the_purse(town)
    await town.control("/wechat-pay/control/faults", {"refund_processing": 1})
    asked = await _ask(town, topup, "25.00", "refund-flow-1")
    await _ended(town, asked["refundNo"], "SENT")

    async def waits() -> bool | None:
        told = await town.value("SELECT outcome FROM topups_refund")
        return True if told and "ACCEPTED" in told else None

    await until(waits, "the channel's accepted, which is not done")
    assert (await _story(town)) | {"back": 0} == _HALF | {"back": 0, "channel": 5000, "due": 2500}
    named = {"mchid": town.ours.sites[0].mchid, "out_refund_no": asked["refundNo"]}
    await town.control("/wechat-pay/control/faults", {"duplicate_notice": 4})
    told = await town.control("/wechat-pay/control/refund-notice", named)
    assert told["notices"] == [204] * 5
    await _ended(town, asked["refundNo"], "DONE")
    await asyncio.gather(
        *(town.control("/wechat-pay/control/refund-notice", named) for _ in range(3))
    )
    assert await _story(town) == _HALF


async def test_a_refund_to_a_void_card_is_in_the_purse_again_and_is_a_case(town: Town) -> None:
    topup = await _paid_into_the_purse(town)
    await town.control("/wechat-pay/control/faults", {"refund_abnormal": 1})
    asked = await _ask(town, topup, "50.00", "refund-flow-1")
    await _ended(town, asked["refundNo"], "FAILED")
    assert (await town.case("REFUND_FAILED"))["order"]
    story = await _story(town)
    assert story == {
        "back": 0,
        "times": 1,
        "channel": 5000,
        "purse": 5000,
        "due": 0,
        "lot": 5000,
    }
