"""What the backend says on the console in words of its own is said in Chinese there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.pages import words
from tests.house.tree import Source, Tree

from .collected import sentences, shape, texts

ROOT = Path(__file__).resolve().parents[3]
# Who makes what the console shows: outcomes of commands, notes of batches, of cases and of alarms, why a
# price or a sale did not get through, and why something that was asked for there is refused.
_SPEAKERS = {
    "backend/alerts": "alarms operations",
    "backend/control": "batch_rules command_rules command_steps price_rules prices rules second_word",
    "backend/integrations": (
        "alipay alipay_bill alipay_message alipay_wire aliyun_sms bank_form chinapay unionpay"
        " unionpay_bill webhook_sender wechat_message wechat_pay wechat_pay_bill wechat_pay_wire"
    ),
    "backend/journeys": (
        "alarm_money alarms batch batch_run batch_selection cases closing_steps command"
        " forecast_warning late_settled load_limits meter_choice own_cuts price_download"
        " prove_meters reconcile refund_sending serve_command settle supply_again supply_look"
        " takedown_steps tamper valves vend watch webhook"
    ),
    "backend/kernel": "band_calendar scope",
    "backend/metering": "takedown_rules",
    "backend/reconcile": "bills proof_rules rules",
    "backend/tariffs": "calendar",
    "backend/topups": "rules",
    "workers": "at_meter bus_lease buses command control remote_command uplink_host uplink_line",
    "workers/drivers": (
        "bare cjt188 settings_numbers dlt645 dlt645_calendar dlt645_clock dlt645_esam dlt645_line"
        " dlt645_settings modbus modbus_calendar modbus_reading modbus_settings"
    ),
    "workers/links": "dialin/line door line mbap remote tcp",
    "workers/protocols": "cjt188 cjt188_requests dlt645_answers dlt645_frame dlt645_functions modbus",
}
SPEAKERS = {f"{room}/{name}.py" for room, names in _SPEAKERS.items() for name in names.split()}
# They speak to others more than to the console: of what they say only some has words.
_PARTLY = {
    *(f"backend/journeys/{name}.py" for name in ("cash_desk", "deliver", "dormitory", "sign_in")),
    *(f"workers/protocols/{name}.py" for name in ("cjt188_values", "dlt645_values")),
    "backend/control/load_rules.py",
    "workers/links/dialin/acrel_gateway.py",
}
# Said there, and never on the console: to other pages and the API, to the log, to who runs the processes.
ELSEWHERE = {
    "no such alarm",  # that something is not there is told in one sentence for all (C29)
    "no such case",
    "no such project",
    "{} is a way out of {}",  # the console's way is a note
    "{} is not paid by {}",
    "an idempotency key has 8 to 200 characters",
    "the last word of this meter is known, or typed already",
    "no plan holds when the span begins",
    "span ends after it starts",
    "say in the note where these figures come from",
    "meter holds whole fen",
    "these figures do not fit: {}",
    "sale may still be on its way to the meter: look again in a minute",
    "the new meter measures something else",
    "the new meter is not sold to",
    "top-up is {} to {} yuan",
    "application/json; charset=utf-8",
    "The buses that are ours.",
    "The buses that another process waits for.",
    "command is a line of JSON",
    "command is {'cmd': {}}",
    "Alipay is not paid by {}",  # a pay page's
    "ChinaPay is paid on its own page",
    "UnionPay is paid on its own page",
    "paying by H5 needs the payer's address",
    "paying inside Alipay needs the payer's id",
    "paying inside WeChat needs the openid",
    "not the notice of a payment",
    "the notice cannot be read or proven: {}",
    "the notice is about an order of another day",
    "the notice is too long",
    "SMS: key id, secret and signature name are needed",
    "SMS: this is a sample key",
    "the door's token has fewer than {} characters",
    "question is under way on this line: take a turn on its lane",
    "HELLO of another gateway came on this one's topic",
    "frame of another gateway came on this one's topic",
    "too much of this gateway waits to be stored",
    "dropped unread ({})",
}
_NO_OPERATOR_SEES = ("backend/chaos/", "bots/")


def said(tree: Tree) -> dict[str, str]:
    """The shape of every sentence that the console may show, with where it is said."""
    found = {}
    for source in tree.sources:
        if source.path in SPEAKERS:
            for line, sentence in sentences(source):
                found[shape(sentence)] = f"{source.path}:{line}"
        for name in () if source.path.startswith(_NO_OPERATOR_SEES) else _actors(source):
            found[shape(name)] = source.path
    return found


def _actors(source: Source) -> Iterator[str]:
    """The names of who acts by itself."""
    for call in source.of(ast.Call):
        match call:
            case ast.Call(
                func=ast.Name(id="Actor"),
                args=[ast.Constant(value="system"), _, ast.Constant(value=str(name))],
            ):
                yield name


def spoken() -> set[str]:
    """The shapes of the sentences that have Chinese words."""
    return {shape(key.removeprefix("said.")) for key in words("zh") if key.startswith("said.")}


@pytest.fixture(scope="module")
def house() -> Tree:
    """The real repository."""
    return Tree(ROOT)


def test_every_sentence_that_the_console_shows_has_chinese_words(house: Tree) -> None:
    assert {source.path for source in house.sources} >= SPEAKERS
    ours = said(house)
    assert {"newer {} came", "the relay {}", "its day was over", "load guard"} <= ours.keys()
    assert {s: where for s, where in ours.items() if s not in spoken() | ELSEWHERE} == {}


def test_a_sentence_has_words_only_as_long_as_somebody_says_it(house: Tree) -> None:
    there = {shape(text) for source in house.sources for _, text in texts(source)}
    there |= {each.replace("_", " ") for each in there}  # as drivers tell what they cannot do
    assert spoken() - there == set()
    assert ELSEWHERE - there == set()


def test_who_says_a_sentence_of_the_console_is_among_its_speakers(house: Tree) -> None:
    by: dict[str, set[str]] = {}
    for source in house.sources:
        for _, sentence in sentences(source):
            by.setdefault(shape(sentence), set()).add(source.path)
    strangers = {s: by[s] for s in spoken() & by.keys() if not by[s] & (SPEAKERS | _PARTLY)}
    actors = said(house).keys()
    assert {s: who for s, who in strangers.items() if s not in actors} == {}


def test_chinese_sentences_have_the_places_of_the_english_ones() -> None:
    for key, sentence in words("zh").items():
        if key.startswith("said."):
            places = re.findall(r"\{\w+\}", key)
            assert sorted(re.findall(r"\{\w+\}", sentence)) == sorted(places), key
            assert len(set(places)) == len(places), key
    shapes = [shape(key) for key in words("zh") if key.startswith("said.")]
    assert len(set(shapes)) == len(shapes), "one of two is never shown"


_BAD = '''"""A room of its own."""
log.warning("a log says this")
RUNNER = Actor("system", "x", "somebody new")
SQL = "UPDATE c SET note = 'it is so ' || $1 || ' now' WHERE a = 'B'"


def go(n):
    """What it does."""
    raise Conflict(f"nobody knows {n} of these")
'''


def test_a_sentence_that_nobody_gave_words_to_is_found(tmp_path: Path) -> None:
    place = tmp_path / "backend/control/rules.py"
    place.parent.mkdir(parents=True)
    place.write_text(_BAD, encoding="utf-8")
    found = {"nobody knows {} of these", "it is so {} now", "somebody new"}
    assert said(Tree(tmp_path)).keys() == found
    assert not found & spoken()
