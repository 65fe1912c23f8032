"""WeChat's wire with wechatpy's own cipher both ways: what is forged, stale or broken stays outside."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import xmltodict
from hypothesis import given, settings
from hypothesis import strategies as st
from wechatpy.parser import parse_message
from wechatpy.utils import check_signature

from bots.intents import Balance, Bind, Welcome
from bots.wechat.inbound import Inbound, InboundRejected, Kind, receive, verify_endpoint
from bots.wechat.keys import CallbackKeys
from bots.wechat.menu import CLICKS, build_menu, said
from bots.wechat.outbound import MAX_TEXT_BYTES, SILENCE, fit, render

AT = datetime(2026, 5, 3, 2, 40, tzinfo=UTC)
OPENID, ACCOUNT = "oFollower_0123456789-abcdef", "gh_0123456789ab"
TEXT = "<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{}]]></Content><MsgId>{}</MsgId>"


def new_keys(app_id: str = "wx0123456789abcdef") -> CallbackKeys:
    """Keys made for one test."""
    aes_key = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return CallbackKeys(secrets.token_hex(16), aes_key, app_id)


KEYS = new_keys()


def xml_of(inner: str, *, created: int = int(AT.timestamp()), openid: str = OPENID) -> str:
    return (
        f"<xml><ToUserName><![CDATA[{ACCOUNT}]]></ToUserName>"
        f"<FromUserName><![CDATA[{openid}]]></FromUserName>"
        f"<CreateTime>{created}</CreateTime>{inner}</xml>"
    )


def signature(*parts: str) -> str:
    return hashlib.sha1("".join(sorted(parts)).encode()).hexdigest()


def sealed(
    xml: str, *, keys: CallbackKeys = KEYS, sent: datetime = AT, nonce: str = "nonce1"
) -> tuple[dict[str, str], bytes]:
    """The query and body by which WeChat's server delivers `xml` in safe mode."""
    stamp = str(int(sent.timestamp()))
    body = keys.crypto().encrypt_message(xml, nonce, stamp)
    fields = xmltodict.parse(body)["xml"]
    query = {
        "signature": signature(keys.token, stamp, nonce),
        "msg_signature": fields["MsgSignature"],
        "timestamp": stamp,
        "nonce": nonce,
        "openid": OPENID,
        "encrypt_type": "aes",
    }
    return query, body.encode()


def signed(
    encrypted: str, *, keys: CallbackKeys = KEYS, nonce: str = "n"
) -> tuple[dict[str, str], bytes]:
    """A body with right signatures around any `encrypted` text, as only a holder of the token makes."""
    stamp = str(int(AT.timestamp()))
    query = {
        "signature": signature(keys.token, stamp, nonce),
        "msg_signature": signature(keys.token, stamp, nonce, encrypted),
        "timestamp": stamp,
        "nonce": nonce,
    }
    return query, f"<xml><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>".encode()


def delivered(inner: str, **how: object) -> Inbound:
    query, body = sealed(xml_of(inner, **how))  # type: ignore[arg-type]  # named by each test
    return receive(keys=KEYS, query=query, body=body, now=AT)


def rejected(query: dict[str, str], body: bytes, *, now: datetime = AT) -> InboundRejected:
    with pytest.raises(InboundRejected) as caught:
        receive(keys=KEYS, query=query, body=body, now=now)
    return caught.value


# --- inbound -------------------------------------------------------------------------------


def test_a_text_sealed_by_the_real_library_is_read() -> None:
    inbound = delivered(TEXT.format("充值 50", 7001))
    assert inbound == Inbound(OPENID, ACCOUNT, Kind.TEXT, "充值 50", "", "m:7001", AT)


@pytest.mark.parametrize(
    ("inner", "kind", "event_key"),
    [
        ("<Event>subscribe</Event><EventKey></EventKey>", Kind.SUBSCRIBE, ""),
        ("<Event>subscribe</Event><EventKey>qrscene_bind_1001</EventKey>", Kind.SUBSCRIBE, "bind_1001"),
        ("<Event>SCAN</Event><EventKey>bind_10010023</EventKey>", Kind.SCAN, "bind_10010023"),
        ("<Event>CLICK</Event><EventKey>BALANCE</EventKey>", Kind.CLICK, "BALANCE"),
        ("<Event>unsubscribe</Event><EventKey></EventKey>", Kind.UNSUBSCRIBE, ""),
        ("<Event>VIEW</Event><EventKey>https://h.example.com/</EventKey>", Kind.OTHER, "https://h.example.com/"),
        ("<Event>subscribe_msg_popup_event</Event>", Kind.OTHER, ""),
    ],
)  # fmt: skip
def test_events_are_told_apart_and_keep_their_scene(inner: str, kind: Kind, event_key: str) -> None:
    inbound = delivered("<MsgType>event</MsgType>" + inner)
    assert (inbound.kind, inbound.event_key, inbound.text) == (kind, event_key, "")


def test_the_end_of_a_template_message_has_its_number_and_how_it_ended() -> None:
    event = "<MsgType>event</MsgType><Event>TEMPLATESENDJOBFINISH</Event><MsgID>200163836</MsgID>"
    inbound = delivered(event + "<Status>failed:user block</Status>")
    said = (inbound.kind, inbound.event_key, inbound.text, inbound.dedupe_key)
    assert said == (Kind.TEMPLATE_SENT, "200163836", "failed:user block", "t:200163836")


def test_a_picture_is_something_else_and_still_has_its_id() -> None:
    inbound = delivered("<MsgType>image</MsgType><MsgId>7002</MsgId><PicUrl>x</PicUrl>")
    assert (inbound.kind, inbound.text, inbound.dedupe_key) == (Kind.OTHER, "", "m:7002")


def test_a_retry_of_wechat_has_the_same_key_and_another_message_has_not() -> None:
    first = sealed(xml_of(TEXT.format("余额", 7001)))
    again = sealed(
        xml_of(TEXT.format("余额", 7001)), nonce="nonce2", sent=AT + timedelta(seconds=5)
    )
    other = sealed(xml_of(TEXT.format("余额", 7003)))
    keys = [
        receive(keys=KEYS, query=q, body=b, now=AT).dedupe_key for q, b in (first, again, other)
    ]
    assert keys[0] == keys[1] != keys[2]


def test_events_without_an_id_are_told_apart_by_who_when_and_what() -> None:
    event = "<MsgType>event</MsgType><Event>CLICK</Event><EventKey>{}</EventKey>"
    stamp = int(AT.timestamp())
    keys = {
        delivered(event.format("BALANCE")).dedupe_key,
        delivered(event.format("USAGE")).dedupe_key,
        delivered(event.format("BALANCE"), created=stamp - 1).dedupe_key,
        delivered(event.format("BALANCE"), openid="oOther").dedupe_key,
        delivered(event.format("x" * 900)).dedupe_key,
        delivered(event.format("x" * 901)).dedupe_key,
    }
    assert len(keys) == 6
    assert delivered(event.format("BALANCE")).dedupe_key == f"e:{OPENID}:{stamp}:CLICK:BALANCE"
    assert all(len(key) <= 128 for key in keys)


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_a_message_within_five_minutes_is_taken(seconds: int) -> None:
    query, body = sealed(xml_of(TEXT.format("余额", 1)), sent=AT + timedelta(seconds=seconds))
    assert receive(keys=KEYS, query=query, body=body, now=AT).text == "余额"


@pytest.mark.parametrize("seconds", [-301, 301, -86400])
def test_a_stale_message_is_refused_even_when_its_signature_is_right(seconds: int) -> None:
    query, body = sealed(xml_of(TEXT.format("余额", 1)), sent=AT + timedelta(seconds=seconds))
    refusal = rejected(query, body)
    assert (refusal.status, refusal.reason) == (403, "stale timestamp")


@pytest.mark.parametrize("field", ["signature", "msg_signature", "timestamp", "nonce"])
@pytest.mark.parametrize("value", ["", "0", "x" * 40, "ü", "\ud800", "9" * 300, None])
def test_a_missing_or_forged_query_field_is_refused(field: str, value: str | None) -> None:
    query, body = sealed(xml_of(TEXT.format("余额", 1)))
    if value is None:
        del query[field]
    else:
        query[field] = value
    assert rejected(query, body).status == 403


def test_a_message_sealed_for_another_account_is_refused() -> None:
    stranger = new_keys()
    assert (
        rejected(*sealed(xml_of(TEXT.format("余额", 1)), keys=stranger)).reason == "wrong signature"
    )
    same_secret_other_app = CallbackKeys(KEYS.token, KEYS.aes_key, "wxother0123456789")
    refusal = rejected(*sealed(xml_of(TEXT.format("余额", 1)), keys=same_secret_other_app))
    assert (refusal.status, refusal.reason) == (403, "cannot be decrypted")


def test_a_body_swapped_under_a_right_query_is_refused() -> None:
    query, _ = sealed(xml_of(TEXT.format("余额", 1)))
    _, other = sealed(xml_of(TEXT.format("解绑", 2)))
    assert rejected(query, other).reason == "wrong signature"


def test_a_plain_body_cannot_talk_its_way_past_safe_mode() -> None:
    query, _ = sealed(xml_of(TEXT.format("余额", 1)))
    refusal = rejected(query, xml_of(TEXT.format("余额", 1)).encode())
    assert (refusal.status, refusal.reason) == (403, "not in safe mode")


@pytest.mark.parametrize(
    "encrypted",
    ["", "a", "!!!!", "AAAA", "QUJD" * 8, "A" * 22 + "==", "eHh4" * 21 + "eA=="],
)
def test_a_broken_cipher_with_right_signatures_is_refused(encrypted: str) -> None:
    assert rejected(*signed(encrypted)).status == 403


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_no_cipher_bytes_get_past_the_typed_refusal(raw: bytes) -> None:
    assert rejected(*signed(base64.b64encode(raw).decode())).status == 403


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_no_body_gets_past_the_typed_refusal(body: bytes) -> None:
    query, _ = sealed(xml_of(TEXT.format("余额", 1)))
    assert rejected(query, body).status in (400, 403)


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><xml><MsgType>&b;</MsgType></xml>'
)

FOREIGN = xml_of(TEXT.format("&secret;", 1)).replace(
    "<xml>", '<!DOCTYPE xml [<!ENTITY secret SYSTEM "file:///etc/hostname">]><xml>', 1
)


@pytest.mark.parametrize("hostile", [BOMB, FOREIGN], ids=["bomb", "foreign file"])
def test_entities_are_refused_outside_and_inside_the_seal(hostile: str) -> None:
    query, _ = sealed(xml_of(TEXT.format("余额", 1)))
    assert rejected(query, hostile.encode()).status == 403
    refusal = rejected(*sealed(hostile))
    assert (refusal.status, refusal.reason) == (400, "not WeChat's XML")


@pytest.mark.parametrize(
    "inner",
    [
        "not xml",
        "<xml/>",
        "<html></html>",
        "<xml>text</xml>",
        xml_of("<MsgType>text</MsgType><Content>x</Content>"),
        xml_of("<MsgType>text</MsgType><Content>x</Content><MsgId>1x</MsgId>"),
        xml_of("<MsgId>1</MsgId>"),
        xml_of(TEXT.format("x", 1)).replace("<CreateTime>", "<CreateTime>x"),
        xml_of(TEXT.format("x", 1), openid="a b"),
        xml_of(TEXT.format("x", 1)).replace(ACCOUNT, ""),
        "<xml>" + "<a>" * 2000 + "</a>" * 2000 + "</xml>",
    ],
)
def test_a_sealed_body_that_is_no_message_is_a_bad_request(inner: str) -> None:
    assert rejected(*sealed(inner)).status == 400


def test_a_body_over_64_kilobytes_is_refused_before_anything_is_read() -> None:
    refusal = rejected({}, b"<" * (64 * 1024 + 1))
    assert (refusal.status, refusal.reason) == (400, "body too large")
    assert rejected({}, b"<" * (64 * 1024)).status == 403


def test_a_stranger_never_reaches_a_parser() -> None:
    query, _ = sealed(xml_of(TEXT.format("余额", 1)))
    assert rejected(query | {"signature": "0" * 40}, b"<broken").reason == "wrong signature"
    assert rejected(query, b"<broken").reason == "not WeChat's XML"


def test_an_empty_text_is_a_text() -> None:
    assert delivered(TEXT.format("", 7)).text == ""


# --- the callback's set-up and keys --------------------------------------------------------


def test_the_echo_of_the_set_up_is_answered_only_when_signed_and_fresh() -> None:
    stamp, nonce = str(int(AT.timestamp())), "n1"
    query = {"signature": signature(KEYS.token, stamp, nonce), "timestamp": stamp, "nonce": nonce}
    check_signature(KEYS.token, query["signature"], stamp, nonce)
    assert verify_endpoint(keys=KEYS, query=query | {"echostr": "4375120948345356249"}, now=AT) == (
        "4375120948345356249"
    )
    forged = query | {"echostr": "1", "signature": "0" * 40}
    for bad in (forged, query, query | {"echostr": "<script>"}):
        with pytest.raises(InboundRejected):
            verify_endpoint(keys=KEYS, query=bad, now=AT)
    with pytest.raises(InboundRejected):
        verify_endpoint(keys=KEYS, query=query | {"echostr": "1"}, now=AT + timedelta(seconds=301))


def test_a_sealed_echo_is_opened() -> None:
    query, body = sealed("4375120948345356249")
    echo = xmltodict.parse(body)["xml"]["Encrypt"]
    assert (
        verify_endpoint(keys=KEYS, query=query | {"echostr": echo}, now=AT) == "4375120948345356249"
    )
    with pytest.raises(InboundRejected):
        verify_endpoint(keys=KEYS, query=query | {"echostr": echo[:-4] + "AAAA"}, now=AT)


def test_keys_that_wechat_would_not_give_are_refused_and_none_is_printed() -> None:
    for broken in (
        ("", KEYS.aes_key, "wxabcdef"),
        ("token", "short", "wxabcdef"),
        ("token", KEYS.aes_key, "w x"),
    ):
        with pytest.raises(ValueError, match="the "):
            CallbackKeys(*broken)
    assert KEYS.token not in repr(KEYS)
    assert KEYS.aes_key not in repr(KEYS)


# --- outbound ------------------------------------------------------------------------------


@pytest.fixture
def opened() -> Callable[[str], dict[str, str]]:
    """Opens a sealed answer with the real library, as WeChat does."""

    def open_answer(answer: str) -> dict[str, str]:
        outer = xmltodict.parse(answer)["xml"]
        inner = KEYS.crypto().decrypt_message(
            answer, outer["MsgSignature"], outer["TimeStamp"], outer["Nonce"]
        )
        assert parse_message(inner).content is not None
        return dict(xmltodict.parse(inner)["xml"])

    return open_answer


def test_an_answer_is_sealed_and_goes_back_to_who_wrote(
    opened: Callable[[str], dict[str, str]],
) -> None:
    inbound = delivered(TEXT.format("余额", 1))
    answer = render(
        keys=KEYS, inbound=inbound, replies=("301室电表 余额 23.60 元",), nonce="abc", now=AT
    )
    assert "23.60" not in answer
    message = opened(answer)
    assert (message["ToUserName"], message["FromUserName"]) == (OPENID, ACCOUNT)
    assert (message["MsgType"], message["Content"]) == ("text", "301室电表 余额 23.60 元")
    assert message["CreateTime"] == str(int(AT.timestamp()))


def test_a_label_cannot_add_xml_to_the_answer(opened: Callable[[str], dict[str, str]]) -> None:
    inbound = delivered(TEXT.format("余额", 1))
    attack = "x]]></Content><ToUserName>evil</ToUserName><Content><![CDATA[\x00\ud800"
    message = opened(render(keys=KEYS, inbound=inbound, replies=(attack,), nonce="abc", now=AT))
    assert message["ToUserName"] == OPENID
    assert message["Content"].startswith("x]] >")


def test_nothing_to_say_is_success() -> None:
    inbound = delivered(TEXT.format("余额", 1))
    for replies in ((), ("",), ("\x00",), (" \n",)):
        assert (
            render(keys=KEYS, inbound=inbound, replies=replies, nonce="a", now=AT)
            == SILENCE
            == "success"
        )


def test_a_long_answer_is_cut_at_a_line_so_that_no_link_is_cut() -> None:
    line = "https://pay.example.com/p/" + "x" * 300
    cut = fit("\n".join([line] * 20))
    assert len(cut.encode()) <= MAX_TEXT_BYTES
    assert set(cut.split("\n")) == {line, "…"}


@given(st.text(max_size=3000))
def test_any_text_fits_and_can_stand_in_xml(text: str) -> None:
    fitted = fit(text * 3)
    assert len(fitted.encode()) <= MAX_TEXT_BYTES
    assert "]]>" not in fitted
    xmltodict.parse(f"<a><![CDATA[{fitted}]]></a>")


# --- menu ----------------------------------------------------------------------------------


def test_the_menu_fits_wechats_limits_and_buying_is_the_first_tap() -> None:
    menu = build_menu(
        top_up_url="https://h.example.com/h5/", elder_url="https://h.example.com/elder"
    )
    buttons = menu["button"]
    assert buttons[0] == {"type": "view", "name": "自助购电", "url": "https://h.example.com/h5/"}
    assert len(buttons) <= 3
    assert all(len(button["name"]) <= 4 for button in buttons)
    subs = [sub for button in buttons for sub in button.get("sub_button", [])]
    assert all(len(button.get("sub_button", [])) <= 5 for button in buttons)
    assert all(len(sub["name"]) <= 7 for sub in subs)
    assert all(sub["key"] in CLICKS for sub in subs if sub["type"] == "click")


def test_a_menu_page_must_be_https() -> None:
    for url in ("http://h.example.com", "javascript:alert(1)", "https://", ""):
        with pytest.raises(ValueError, match="https"):
            build_menu(top_up_url=url)


def test_a_tap_a_scan_and_a_text_say_the_same_things_to_the_dialogue() -> None:
    event = "<MsgType>event</MsgType><Event>{}</Event><EventKey>{}</EventKey>"
    assert said(delivered(TEXT.format("余额", 1))) == "余额"
    assert said(delivered(event.format("CLICK", "BALANCE"))) == Balance()
    assert said(delivered(event.format("CLICK", "NO_SUCH"))) is None
    assert said(delivered(event.format("subscribe", ""))) == Welcome()
    assert said(delivered(event.format("subscribe", "qrscene_bind_10010023"))) == Bind("10010023")
    assert said(delivered(event.format("SCAN", "other"))) == Welcome()
    assert said(delivered(event.format("unsubscribe", ""))) is None
