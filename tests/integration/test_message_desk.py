"""What comes back from providers, what a project's own system hears, and what operators see and set."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from backend.accounts.identities import bound_identities
from backend.alerts.ports import MessageChannel, Undeliverable
from backend.alerts.template_rules import MessageTemplate
from backend.alerts.templates import Slot, remove_template, save_template, templates
from backend.alerts.webhook_rules import SIGNATURE, TIMESTAMP, signature
from backend.alerts.webhooks import remove_webhook, webhook
from backend.audit.queries import entries
from backend.callbacks.sms_receipt import sms_receipt_route
from backend.journeys.message_desk import messages_of_account, put_webhook, receipt_url
from backend.journeys.message_preview import preview
from backend.journeys.receipts import Receipt, receipt_address, take_receipts
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Forbidden, InvalidInput, NotFound, Unavailable
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .messaged import (
    ALIPAY,
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
from .world import APP_ID, START, World, admin_scope, bind_customer

URL, SECRET = "https://shop.example/news", "a secret of sixteen"


@pytest.fixture
async def both(worlds: tuple[World, World]) -> tuple[Provider, Provider]:
    """Two groups with accounts everywhere."""
    return await open_accounts(worlds[0]), await open_accounts(worlds[1])


async def push(provider: Provider, url: str, told: object) -> httpx.Response:
    """Aliyun pushes receipts to an address of ours."""
    app = Starlette(routes=[sms_receipt_route(provider.ports)])
    line = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=line, base_url="https://pay.example.com") as aliyun:
        return await aliyun.post(httpx.URL(url).path, json=told)


def report(*, biz_id: str = "", out_id: str = "", success: bool = True) -> dict[str, Any]:
    """One receipt in Aliyun's words."""
    code = "DELIVERED" if success else "UNDELIVERED"
    return {"biz_id": biz_id, "out_id": out_id, "success": success, "err_code": code}


async def test_a_receipt_by_the_secret_path_marks_the_message_as_arrived(
    both: tuple[Provider, Provider],
) -> None:
    ours, theirs = both
    for each in both:
        await tell(each.world)
        await work_off(each)
    url = receipt_address(ours.ports, group_id=ours.world.group_id)
    for _ in range(2):
        answer = await push(ours, url, [report(biz_id="SMS-1"), report(biz_id="of nobody")])
        assert (answer.status_code, answer.json()) == (200, {"code": 0, "msg": "接收成功"})
    (arrived,) = await rows_of(ours.world, "SELECT state, arrived_at FROM alerts_delivery")
    assert (arrived["state"], arrived["arrived_at"]) == ("SENT", START)
    (other,) = await rows_of(theirs.world, "SELECT arrived_at FROM alerts_delivery")
    assert other["arrived_at"] is None


async def test_a_receipt_is_not_believed_by_any_other_path_or_in_another_form(
    both: tuple[Provider, Provider],
) -> None:
    ours, theirs = both
    await tell(ours.world)
    await work_off(ours)
    url = receipt_address(ours.ports, group_id=ours.world.group_id)
    foreign = receipt_address(theirs.ports, group_id=theirs.world.group_id)
    token = foreign.rsplit("/", 1)[1]
    for wrong in (url[:-1] + "0z"[url.endswith("0")], url.rsplit("/", 1)[0] + "/" + token):
        assert (await push(ours, wrong, [report(biz_id="SMS-1")])).status_code == 404
    broken: tuple[object, ...] = ({}, [1], [{"biz_id": "SMS-1"}], [report(biz_id="SMS-1"), 1])
    for told in broken:
        assert (await push(ours, url, told)).status_code == 400
    assert (await push(ours, url, [report(biz_id="SMS-1")] * 1001)).status_code == 413
    assert (
        await push(ours, foreign, [report(biz_id="SMS-1")])
    ).status_code == 200  # theirs: unknown
    (row,) = await rows_of(ours.world, "SELECT state, arrived_at FROM alerts_delivery")
    assert (row["state"], row["arrived_at"]) == ("SENT", None)


async def test_a_receipt_finds_a_message_by_our_key_when_the_answer_was_lost(
    both: tuple[Provider, Provider],
) -> None:
    ours, _ = both
    await tell(ours.world)
    await work_off(ours)
    async with unit_of_work(ours.world.group_id) as work:
        await work.execute("UPDATE alerts_delivery SET provider_id = 'out:' || key")
    (sent,) = await rows_of(ours.world, "SELECT key FROM alerts_delivery")
    url = receipt_address(ours.ports, group_id=ours.world.group_id)
    await push(ours, url, [report(biz_id="SMS-9", out_id=sent["key"], success=False)])
    assert await tries(ours.world) == [("SMS", "FAILED")]


async def test_a_template_that_wechat_took_and_the_person_blocks_goes_on_by_sms(
    both: tuple[Provider, Provider],
) -> None:
    ours, _ = both
    await bind_customer(ours.world)
    await tell(ours.world)
    await work_off(ours)
    receipts = [Receipt(("WECHAT-1",), "failed:user block")] * 2
    taken = await take_receipts(
        ours.ports, group_id=ours.world.group_id, channel=WECHAT, receipts=receipts
    )
    await work_off(ours)
    assert taken == 1
    assert await tries(ours.world) == [("WECHAT", "FAILED"), ("SMS", "SENT")]


async def hook(world: World) -> None:
    """The project's own system hears its news."""
    await put_webhook(
        world.ports, scope=world.scope, project_id=world.project.id, url=URL, secret=SECRET
    )


async def test_a_webhook_hears_each_news_signed_once_and_again_until_it_takes_it(
    both: tuple[Provider, Provider],
) -> None:
    ours, theirs = both
    await hook(ours.world)
    await bind_customer(ours.world)
    await bind_customer(ours.world, external_id="o-li")
    for each in both:
        await tell(each.world)
    ours.webhook_says.append(Unavailable("the webhook answered 500"))
    await work_off(ours)
    assert ours.posted == []
    async with unit_of_work(ours.world.group_id) as work:
        kept = await webhook(work, scope=ours.world.scope, project_id=ours.world.project.id)
    assert kept is not None
    assert (kept.last_error, kept.taken_at) == ("the webhook answered 500", None)
    ours.world.clock.advance(timedelta(hours=1))
    await work_off(ours)
    await work_off(theirs)
    ((url, body, headers),) = ours.posted
    told = json.loads(body)
    assert (url, told["event"], told["account"]) == (URL, "low_1", "100001")
    assert told["values"]["amount"] == "4.20"
    stamp = str(int(ours.world.clock.now().timestamp()))
    assert headers[TIMESTAMP] == stamp, "signed anew at each try"
    assert headers[SIGNATURE] == signature(secret=SECRET, timestamp=stamp, body=body)
    assert theirs.posted == []


async def test_a_webhook_that_stays_silent_is_a_case_and_one_taken_away_hears_nothing(
    both: tuple[Provider, Provider],
) -> None:
    ours, _ = both
    world = ours.world
    await hook(world)
    await tell(world)
    ours.webhook_says.append(Unavailable("the webhook did not answer"))
    await work_off(ours, attempts=40)
    assert await cases(world) == ["WEBHOOK_SILENT"]
    await tell(world, "second")
    await work_off(ours)
    assert await cases(world) == []
    await tell(world, "third")
    async with unit_of_work(world.group_id) as work:
        await remove_webhook(
            work, scope=world.scope, project_id=world.project.id, at=world.clock.now()
        )
    await work_off(ours)
    assert [json.loads(body)["id"][:6] for _, body, _ in ours.posted] == ["second"]


async def test_the_secret_of_a_webhook_is_sealed_and_its_address_is_no_inner_one(
    both: tuple[Provider, Provider],
) -> None:
    ours, theirs = both
    await hook(ours.world)
    (row,) = await rows_of(ours.world, "SELECT to_jsonb(w)::text AS row FROM alerts_webhook w")
    assert SECRET not in row["row"]
    async with unit_of_work(ours.world.group_id) as work:
        said = str(await entries(work, before_seq=None, limit=5))
    assert URL in said
    assert SECRET not in said
    with pytest.raises(InvalidInput):
        await put_webhook(
            ours.ports,
            scope=ours.world.scope,
            project_id=ours.world.project.id,
            url="https://169.254.169.254/latest",
            secret=SECRET,
        )
    with pytest.raises(NotFound):
        await put_webhook(
            ours.ports,
            scope=ours.world.scope,
            project_id=theirs.world.project.id,
            url=URL,
            secret=SECRET,
        )


async def test_a_preview_shows_each_persons_chain_its_faults_and_until_when_it_waits(
    both: tuple[Provider, Provider],
) -> None:
    ours, _ = both
    world = ours.world
    await bind_customer(world)
    await bind_alipay_user(world, same_as="o-zhang")
    slot = Slot("low_1", WECHAT, APP_ID)
    template = MessageTemplate("T-1", {"thing1": "account", "number2": "days", "time3": "when"})
    night = START.replace(hour=14)
    async with unit_of_work(world.group_id) as work:
        await save_template(work, scope=world.scope, slot=slot, template=template, at=START)
        shown = await preview(
            work, scope=world.scope, account_id=world.account.id, event="low_1", at=night
        )
    (chain,) = shown.chains
    assert [step.channel for step in chain] == [WECHAT, ALIPAY, SMS]
    assert chain[0].values == {
        "thing1": "Shop 100001",
        "number2": "3",
        "time3": "2026年11月22日 22:00",
    }
    assert [step.fault is None for step in chain] == [True, False, True]
    assert chain[2].address == "138****8000"
    assert world.account.phone not in str(shown)
    assert shown.held_until == START.replace(day=23, hour=0)
    assert await tries(world) == []


async def test_operators_see_what_was_told_with_its_tries_and_only_who_may(
    both: tuple[Provider, Provider],
) -> None:
    ours, theirs = both
    await bind_customer(ours.world)
    ours.says[MessageChannel.WECHAT].append(Undeliverable("errcode 43101"))
    await tell(ours.world)
    await work_off(ours)
    scope, account_id = ours.world.scope, ours.world.account.id

    async def page(scope: Scope) -> Any:
        async with unit_of_work(scope.group_id) as work:
            return await messages_of_account(
                work, scope=scope, account_id=account_id, before=None, limit=10
            )

    ((told, made),) = await page(scope)
    assert (told.event, [each.state for each in made]) == ("low_1", ["REFUSED", "SENT"])
    blind = admin_scope(ours.world.group_id, permissions=frozenset({Permission.ACCOUNT_READ}))
    for stranger in (theirs.world.scope, blind):
        with pytest.raises(NotFound):
            await page(stranger)
    assert receipt_url(ours.ports, scope=blind) is None
    assert receipt_url(ours.ports, scope=scope) is not None


async def test_a_template_is_saved_audited_and_taken_away_by_who_may(
    both: tuple[Provider, Provider],
) -> None:
    ours, theirs = both
    world, slot = ours.world, Slot("cut", WECHAT, APP_ID)
    good = MessageTemplate("T-CUT", {"thing1": "account", "time2": "when"})
    reader = admin_scope(world.group_id, permissions=frozenset({Permission.MESSAGE_READ}))
    async with unit_of_work(world.group_id) as work:
        with pytest.raises(Forbidden):
            await save_template(work, scope=reader, slot=slot, template=good, at=START)
        for wrong in (Slot("cut", WECHAT), Slot("cut", SMS, APP_ID), Slot("none", WECHAT, APP_ID)):
            with pytest.raises(InvalidInput):
                await save_template(work, scope=world.scope, slot=wrong, template=good, at=START)
        await save_template(work, scope=world.scope, slot=slot, template=good, at=START)
        kept = [each for each in await templates(work, scope=reader) if each.slot == slot]
        assert [each.template for each in kept] == [good]
        await remove_template(work, scope=world.scope, slot=slot, at=START)
        with pytest.raises(NotFound):
            await remove_template(work, scope=world.scope, slot=slot, at=START)
        newest = await entries(work, before_seq=None, limit=2)
    assert [each.action for each in newest] == ["message:template:remove", "message:template:set"]
    async with unit_of_work(theirs.world.group_id) as work:
        found = await templates(work, scope=theirs.world.scope)
    assert slot not in [each.slot for each in found]


async def test_an_alipay_user_is_the_same_person_only_as_somebody_who_is_bound(
    both: tuple[Provider, Provider],
) -> None:
    ours, _ = both
    with pytest.raises(NotFound):
        await bind_alipay_user(ours.world, same_as="o-zhang")
    first = await bind_customer(ours.world)
    for _ in range(2):
        await bind_alipay_user(ours.world, same_as="o-zhang")
    async with unit_of_work(ours.world.group_id) as work:
        found = await bound_identities(work, account_id=ours.world.account.id)
    assert {each.channel for each in found if each.person == first.id} == {"WECHAT", "ALIPAY"}
    assert len(found) == 2
