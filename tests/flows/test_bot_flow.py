"""The official account as a follower, a stranger and WeChat's own servers meet it."""

from __future__ import annotations

import asyncio

import asyncpg

from .town import Town, until


async def test_a_stranger_is_led_to_binding_whatever_he_says(town: Town) -> None:
    for phrase in ("余额", "充值 50", "用电", "没电了"):
        assert "绑定" in await town.say(phrase)
    assert await town.value("SELECT count(*) FROM topups_link") == 0


async def test_a_number_nobody_has_is_answered_like_one_that_exists(town: Town) -> None:
    real = await town.say(f"绑定 {town.shop.no}")
    none = await town.say("绑定 987654")
    assert [line for line in real.splitlines() if "****" not in line] == [
        line for line in none.splitlines() if "****" not in line
    ]
    assert real.count("****") == none.count("****") == 1
    messages = (await town.control("/sms/control/inbox"))["messages"]
    assert {message["phone"] for message in messages} <= {town.shop.phone}


async def test_the_code_of_another_groups_account_cannot_be_asked_for_here(town: Town) -> None:
    theirs = town.theirs.sites[0].homes[0]
    await town.say(f"绑定 {theirs.no}")
    queued = await town.value("SELECT count(*) FROM alerts_delivery WHERE event = 'bind_code'")
    assert queued == 0


async def test_wechat_repeating_a_message_gets_one_action_and_the_same_answer(town: Town) -> None:
    await town.bind()
    first = await town.say("充值 50", msg_id=77001)
    again = await asyncio.gather(*(town.say("充值 50", msg_id=77001) for _ in range(5)))
    assert first
    assert set(again) == {first}
    assert await town.value("SELECT count(*) FROM topups_link") == 1


async def test_a_broken_or_forged_message_is_refused_and_nothing_happens(town: Town) -> None:
    await town.bind()
    body = {"appid": town.ours.app_id, "openid": town.shop.openid, "text": "充值 50"}
    for fault in ("broken_encrypt", "bad_signature"):
        await town.control("/wechat/control/faults", {fault: 1})
        answer = await town.control("/wechat/control/say", body)
        assert answer["status"] in (400, 403), fault
        assert answer["reply"] is None
    assert await town.value("SELECT count(*) FROM topups_link") == 0


async def test_typing_charges_nothing_and_a_menu_tap_says_the_balance(town: Town) -> None:
    await town.bind()
    for phrase in ("充值 50", "充五十块", "买电100"):
        assert "/p/" in await town.say(phrase)
    assert await town.value("SELECT count(*) FROM topups_order") == 0
    body = {
        "appid": town.ours.app_id,
        "openid": town.shop.openid,
        "event": "CLICK",
        "event_key": "BALANCE",
    }
    answer = await town.control("/wechat/control/say", body)
    assert "20.00" in answer["reply"]


async def test_five_wrong_codes_end_a_binding_and_no_phone_is_bombed(town: Town) -> None:
    await town.say(f"绑定 {town.shop.no}")
    right = await town.sms_code()
    wrong = "000000" if right != "000000" else "111111"
    for _ in range(6):
        await town.say(wrong)
    await town.say(right)
    assert await town.value("SELECT count(*) FROM accounts_binding") == 0
    for _ in range(8):
        await town.say(f"绑定 {town.shop.no}")
    sent = await town.value("SELECT count(*) FROM alerts_delivery WHERE event = 'bind_code'")
    assert sent == 5


async def test_logs_hold_no_phone_number_token_or_code(town: Town) -> None:
    await town.bind()
    token = await town.link()
    code = await town.sms_code()
    await town.stop_worker()
    text = town.log.read_text()
    assert text
    for secret in (town.shop.phone, token, f'"{code}"', town.secrets.sms["secret"]):
        assert secret not in text


async def test_an_answer_that_takes_too_long_comes_as_a_message_of_its_own(town: Town) -> None:
    await town.bind()
    owner = await asyncpg.connect(town.services.owner_dsn())
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE accounts_customer IN ACCESS EXCLUSIVE MODE")
            assert await town.say("余额") == "", "silence within WeChat's five seconds"
    finally:
        await owner.close()

    async def late() -> bool | None:
        path = f"/wechat/control/inbox?appid={town.ours.app_id}&openid={town.shop.openid}"
        messages = (await town.control(path))["messages"]
        return any(m["kind"] != "reply" and "20.00" in m["text"] for m in messages) or None

    await until(late, "the late answer")
