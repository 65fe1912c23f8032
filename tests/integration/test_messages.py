"""Who is told, by which channel, when, and what is kept of each try (A23, C27, C28)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from backend.alerts.message_rules import MessageTerms, QuietHours, SmsLimits
from backend.alerts.operations import queue_delivery
from backend.alerts.ports import Limited, OutOfMoney, TemplateRefused, Undeliverable
from backend.alerts.queries import delivered_at
from backend.alerts.terms import set_message_terms
from backend.journeys.news import tell_switched
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Unavailable

from .messaged import (
    ALIPAY,
    ALIPAY_USER,
    SMS,
    WECHAT,
    Provider,
    bind_alipay_user,
    cases,
    open_accounts,
    rows_of,
    tell,
    tries,
    work_off,
)
from .world import START, World, bind_customer

NO = Undeliverable("refused (errcode 43101)")
PHONE = "13800138000"
HOUR = timedelta(hours=1)


@pytest.fixture
async def ours(worlds: tuple[World, World]) -> AsyncIterator[Provider]:
    """Our group with accounts everywhere; theirs is told the same under the same keys, and hears its own."""
    mine, theirs = worlds
    other = await open_accounts(theirs)
    await bind_customer(theirs, external_id="o-theirs")
    await tell(theirs)
    yield await open_accounts(mine)
    await work_off(other)
    assert other.heard() == [(WECHAT, "o-theirs")]
    assert await tries(theirs) == [("WECHAT", "SENT")]


async def terms(world: World, **limits: int) -> None:
    """The group's own limits; no quiet hours."""
    wanted = MessageTerms(QuietHours(0, 0), SmsLimits(**limits))
    async with unit_of_work(world.group_id) as work:
        await set_message_terms(work, scope=world.scope, terms=wanted, at=world.clock.now())


async def test_wechat_is_first_and_when_it_takes_the_news_nobody_else_is_asked(
    ours: Provider,
) -> None:
    await bind_customer(ours.world)
    await bind_alipay_user(ours.world, same_as="o-zhang")
    for _ in range(2):  # the same news is told once
        await tell(ours.world)
        await work_off(ours)
    assert ours.heard() == [(WECHAT, "o-zhang")]
    assert await tries(ours.world) == [("WECHAT", "SENT")]


async def test_who_refuses_at_wechat_is_tried_at_alipay_and_then_by_sms(ours: Provider) -> None:
    await bind_customer(ours.world)
    await bind_alipay_user(ours.world, same_as="o-zhang")
    ours.says[WECHAT].append(NO)
    ours.says[ALIPAY].append(NO)
    await tell(ours.world)
    await work_off(ours)
    assert ours.tried == [WECHAT, ALIPAY, SMS]
    assert ours.heard() == [(SMS, ours.world.account.phone)]
    (_, sent) = ours.took[0]
    assert sent.template is not None
    assert (sent.template.template_id, sent.params["account"]) == ("SMS_low_1", "Shop 100001")
    states = [("WECHAT", "REFUSED"), ("ALIPAY", "REFUSED"), ("SMS", "SENT")]
    assert await tries(ours.world) == states
    rows = await rows_of(
        ours.world, "SELECT last_error FROM alerts_delivery WHERE state = 'REFUSED'"
    )
    assert [row["last_error"] for row in rows] == [NO.message, NO.message]


async def test_a_channel_at_which_the_group_has_no_account_is_passed_over(ours: Provider) -> None:
    await bind_customer(ours.world)
    async with unit_of_work(ours.world.group_id) as work:
        await work.execute(
            "UPDATE tenancy_credential SET key = 'other' WHERE kind LIKE 'WECHAT_O%'"
        )
    await tell(ours.world)
    await work_off(ours)
    assert ours.tried == [SMS]
    assert await tries(ours.world) == [("WECHAT", "REFUSED"), ("SMS", "SENT")]


async def test_all_room_mates_are_told_and_share_one_sms_when_both_refuse(ours: Provider) -> None:
    await bind_customer(ours.world)
    await bind_customer(ours.world, external_id="o-li")
    await bind_alipay_user(ours.world, same_as=None)
    ours.says[WECHAT].extend([NO, NO])
    await tell(ours.world)
    await work_off(ours)
    assert sorted(ours.heard()) == [(ALIPAY, ALIPAY_USER), (SMS, ours.world.account.phone)]


async def test_who_is_bound_to_nothing_hears_by_the_registered_phone(ours: Provider) -> None:
    await tell(ours.world)
    await work_off(ours)
    assert ours.heard() == [(SMS, ours.world.account.phone)]


async def test_whoever_cannot_be_warned_of_a_cut_is_a_case_and_small_news_is_none(
    ours: Provider,
) -> None:
    await bind_customer(ours.world)
    for event, found in (("low_1", []), ("low_2", ["CUSTOMER_UNREACHED"])):
        ours.says[WECHAT].append(NO)
        ours.says[SMS].append(NO)
        await tell(ours.world, event, event=event)
        await work_off(ours)
        assert await cases(ours.world) == found
    async with unit_of_work(ours.world.group_id) as work:
        assert await delivered_at(work, keys=["low_2-of-a-test", "low_1-of-a-test"]) == {}


async def test_news_is_known_as_delivered_from_when_a_provider_took_it(ours: Provider) -> None:
    await bind_customer(ours.world)
    ours.says[WECHAT].append(Unavailable("busy"))
    await tell(ours.world)
    await work_off(ours)
    ours.world.clock.advance(HOUR)
    await work_off(ours)
    async with unit_of_work(ours.world.group_id) as work:
        found = await delivered_at(work, keys=["low-of-a-test", "low-of", "never"])
    assert found == {"low-of-a-test": START + HOUR}


async def test_the_night_holds_a_warning_and_lets_a_cut_and_its_end_through(ours: Provider) -> None:
    world = ours.world
    await bind_customer(world)
    world.clock.advance(9 * HOUR)  # nine in the evening
    await tell(world)
    (waits,) = await rows_of(world, "SELECT held_until FROM alerts_delivery")
    assert waits["held_until"] == START + 20 * HOUR
    for restored in (False, True):
        world.clock.advance(timedelta(seconds=1))
        async with unit_of_work(world.group_id) as work:
            await tell_switched(
                work,
                account_id=world.account.id,
                meter_id=world.meter.id,
                why="余额不足",
                restored=restored,
                at=world.clock.now(),
            )
    await work_off(ours)
    assert [message.event for _, message in ours.took] == ["cut", "restored"]
    (held,) = await rows_of(world, "SELECT held_until FROM alerts_delivery WHERE state = 'QUEUED'")
    assert held["held_until"] == START + 20 * HOUR  # eight in the morning
    world.clock.advance(11 * HOUR)
    await work_off(ours)
    assert [message.event for _, message in ours.took] == ["cut", "restored", "low_1"]


async def test_a_try_that_failed_in_the_evening_is_not_repeated_at_night(ours: Provider) -> None:
    await bind_customer(ours.world)
    ours.says[WECHAT].append(Unavailable("busy"))
    ours.world.clock.advance(9 * HOUR - timedelta(seconds=1))
    await tell(ours.world)
    await work_off(ours)
    ours.world.clock.advance(HOUR)
    await work_off(ours)
    assert (ours.tried, ours.took) == ([WECHAT], [])
    ours.world.clock.advance(11 * HOUR)
    await work_off(ours)
    assert ours.heard() == [(WECHAT, "o-zhang")]


async def test_one_number_gets_so_many_sms_and_no_more(ours: Provider) -> None:
    await terms(ours.world, number_hour=2, number_day=3)
    for number in range(4):
        await tell(ours.world, f"n{number}")
    await work_off(ours)
    assert await tries(ours.world) == [("SMS", "LIMITED")] * 2 + [("SMS", "SENT")] * 2
    ours.world.clock.advance(2 * HOUR)
    for number in range(4, 6):
        await tell(ours.world, f"n{number}")
    await work_off(ours)
    assert await tries(ours.world) == [("SMS", "LIMITED")] * 3 + [("SMS", "SENT")] * 3
    assert await cases(ours.world) == []
    rows = await rows_of(ours.world, "SELECT to_jsonb(d)::text AS row FROM alerts_delivery d")
    assert all(ours.world.account.phone not in row["row"] for row in rows)


async def test_one_event_is_limited_by_itself(ours: Provider) -> None:
    await terms(ours.world, event_day=1)
    for key, event in (("a", "low_1"), ("b", "low_1"), ("c", "low_2")):
        await tell(ours.world, key, event=event)
    await work_off(ours)
    assert await tries(ours.world) == [("SMS", "LIMITED"), ("SMS", "SENT"), ("SMS", "SENT")]
    assert sorted(message.event for _, message in ours.took) == ["low_1", "low_2"]


async def test_a_group_at_its_own_limit_is_a_case(ours: Provider) -> None:
    await terms(ours.world, group_day=1)
    for key in ("a", "b"):
        await tell(ours.world, key)
    await work_off(ours)
    assert await tries(ours.world) == [("SMS", "LIMITED"), ("SMS", "SENT")]
    assert await cases(ours.world) == ["SMS_LIMIT"]


async def test_what_the_provider_limits_waits_for_the_morning_and_not_for_ever(
    ours: Provider,
) -> None:
    ours.says[SMS].extend([Limited("not today")] * 3)
    await tell(ours.world)
    for day in range(3):
        await work_off(ours)
        assert len(ours.tried) == day + 1
        ours.world.clock.advance(timedelta(days=1))
    assert await tries(ours.world) == [("SMS", "LIMITED")]


async def test_a_code_that_the_provider_limits_ends_at_once(ours: Provider) -> None:
    ours.says[SMS].append(Limited("not today"))
    async with unit_of_work(ours.world.group_id) as work:
        await queue_delivery(
            work,
            channel=SMS,
            event="bind_code",
            key="a code",
            customer_id=None,
            content={"address": PHONE, "text": "x", "param_code": "123456"},
            at=START,
        )
    await work_off(ours)
    assert await tries(ours.world) == [("SMS", "LIMITED")]


async def test_an_account_without_money_is_a_case_until_it_sends_again(ours: Provider) -> None:
    ours.says[SMS].append(OutOfMoney("isv.AMOUNT_NOT_ENOUGH"))
    await tell(ours.world)
    await work_off(ours)
    assert await cases(ours.world) == ["SMS_ACCOUNT_EMPTY"]
    assert await tries(ours.world) == [("SMS", "QUEUED")]
    ours.world.clock.advance(HOUR)
    await work_off(ours)
    assert await cases(ours.world) == []
    assert await tries(ours.world) == [("SMS", "SENT")]


async def test_a_template_that_the_provider_refuses_is_a_case_and_the_next_channel_is_tried(
    ours: Provider,
) -> None:
    await bind_customer(ours.world)
    ours.says[WECHAT].append(TemplateRefused("43116"))
    await tell(ours.world)
    await work_off(ours)
    assert await cases(ours.world) == ["MESSAGE_TEMPLATE"]
    assert await tries(ours.world) == [("WECHAT", "REFUSED"), ("SMS", "SENT")]


async def test_a_channel_that_stays_away_is_given_up_and_the_next_is_tried(ours: Provider) -> None:
    await bind_customer(ours.world)
    ours.says[WECHAT].append(Unavailable("away"))
    await tell(ours.world)
    await work_off(ours, attempts=40)
    assert await tries(ours.world) == [("WECHAT", "REFUSED"), ("SMS", "SENT")]


async def test_an_sms_whose_answer_was_lost_says_so_when_it_is_tried_again(ours: Provider) -> None:
    await terms(ours.world, number_hour=1)
    ours.says[SMS].append(Unavailable("no answer"))
    await tell(ours.world)
    await work_off(ours)
    ours.world.clock.advance(HOUR / 2)
    await work_off(ours)
    (_, sent) = ours.took[0]  # its own first try is not held against it
    assert sent.tried_at == START


async def test_what_was_sent_is_not_sent_again_when_its_job_comes_twice(ours: Provider) -> None:
    await bind_customer(ours.world)
    await tell(ours.world)
    async with unit_of_work(ours.world.group_id) as work:
        payload = await work.fetchval(
            "SELECT payload FROM outbox_event WHERE topic = 'message.send'"
        )
    await work_off(ours)
    async with unit_of_work(ours.world.group_id) as work:  # as after a crash before it was finished
        await work.execute(
            "UPDATE outbox_event SET done_at = NULL, payload = $1 WHERE topic = 'message.send'",
            payload,
        )
    assert await work_off(ours) == 1
    assert len(ours.took) == 1
