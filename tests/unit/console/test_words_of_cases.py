"""An operator reads in his language what a case is, what is told of it, and what he can do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import pytest

from backend.alerts.ports import MessageChannel
from backend.alerts.texts import sentences as messages
from backend.charges.rules import Hold
from backend.control.supply_requests import RequestState
from backend.control.supply_rules import Want, Why
from backend.metering.rules import GatewayLink
from backend.metering.takedown_rules import Purpose
from backend.reconcile.rules import BillClass
from backend.topups.ports import RefundState as ChannelWord
from backend.topups.refund_rules import RefundState
from backend.topups.rules import Channel, PaymentState
from tests.browser.pages import words
from tests.house.tree import Tree
from workers.gateway.alarms import Trouble
from workers.remote_command import _REFUSALS
from workers.uplink_bounds import Doubt
from workers.uplink_inbox import ALARMING

from .collected import Follower, Untold

ROOT = Path(__file__).resolve().parents[3]
LANGUAGES = ("zh", "en")
# What cannot be followed in the source, and what it is: a refusal's own code, an alarm's name, a case that
# was collected before, what a case or an episode told already.
KINDS: dict[str, Iterable[str]] = {
    "code of note_refusal()": ALARMING,
    "f'GATEWAY_{name}'": [f"GATEWAY_{name}" for name in (*Trouble, "OTHER")],
    "case.kind": (),
}
DETAILS: dict[str, Iterable[str]] = {
    "case.detail": (),
    "row['detail']": ("since", "drift_s", "case", "subject"),
    "trip.detail": (),
}
# Details that are codes of ours, by the beginning of their words.
CODES: dict[str, Iterable[StrEnum | str]] = {
    "told.": (
        *(*Hold, *Doubt, *Purpose, *MessageChannel, *GatewayLink, *BillClass),
        *(*PaymentState, *ChannelWord, *RefundState, *RequestState, *_REFUSALS),
        *messages(),
        *("PLATFORM", "PROJECT", "GATEWAY", "notice", "query", "bill", "meter"),
    ),
    "reason.": Why,
    "intent.": Want,
    "channel.": Channel,
}


def shown(tree: Tree) -> tuple[set[str], set[str], dict[str, str]]:
    """The kinds and names of details in a tree, and what could not be followed, with where."""
    kinds, details, unknown = set[str](), set[str](), dict[str, str]()
    follower = Follower(tree)
    for where, given, is_kind in follower.handed():
        try:
            if is_kind:
                kinds |= follower.texts(given)
            else:
                details |= follower.keys(given)
        except Untold as untold:
            unknown[str(untold)] = str(where)
    return kinds, details, unknown


@pytest.fixture(scope="module")
def ours() -> tuple[set[str], set[str], dict[str, str]]:
    """What the product shows."""
    return shown(Tree(ROOT))


def missing(beginning: str, names: Iterable[str]) -> dict[str, set[str]]:
    """Names without a word, by language."""
    wanted = {beginning + name for name in names}
    found = {lang: wanted - words(lang).keys() for lang in LANGUAGES}
    return {language: lacking for language, lacking in found.items() if lacking}


def test_every_kind_of_case_is_called_something_in_both_languages(
    ours: tuple[set[str], set[str], dict[str, str]],
) -> None:
    kinds = ours[0].union(*KINDS.values())
    assert {"BILLING_HOLD", "METER_LOST", "SMS_LIMIT", "UPLINK_KEY_REVOKED"} <= kinds
    assert missing("case.", kinds) == {}
    for language in LANGUAGES:
        called = {key.split(".")[1] for key in words(language) if re.match(r"case(_more)?\.", key)}
        assert called == kinds, "a word for a case that nobody opens"


def test_every_detail_of_a_case_or_an_alarm_has_a_name_in_both_languages(
    ours: tuple[set[str], set[str], dict[str, str]],
) -> None:
    details = ours[1].union(*DETAILS.values())
    assert {"wayOut", "drift_s", "told_by", "ledgerPurchaseNo", "meters"} <= details
    assert missing("detail.", details) == {}
    for language in LANGUAGES:
        named = {key.split(".")[1] for key in words(language) if key.startswith("detail.")}
        assert named == details, "a name of a detail that nobody tells"


def test_nothing_is_left_out_because_it_could_not_be_followed(
    ours: tuple[set[str], set[str], dict[str, str]],
) -> None:
    assert ours[2].keys() == KINDS.keys() | DETAILS.keys(), ours[2]


@pytest.mark.parametrize("beginning", CODES)
def test_every_code_that_a_detail_may_be_has_a_word_in_both_languages(beginning: str) -> None:
    assert missing(beginning, map(str, CODES[beginning])) == {}


def test_what_a_person_can_do_is_told_only_of_cases_that_there_are() -> None:
    for language in LANGUAGES:
        there = words(language)
        more = {key for key in there if key.startswith("case_more.")}
        assert len(more) > 30
        assert {key.replace("_more", "") for key in more} <= there.keys()


_BAD = '''"""A room."""
from backend.alerts.operations import NewCase, open_case

_KIND = "NOBODY_KNOWS_A"
_TABLE = {1: "NOBODY_KNOWS_B"}


def _case(work, kind, detail):
    detail["later"] = "x"
    return open_case(work, kind=kind, subject="s", detail=detail | _more())


def _more():
    return {"returned": "y"}


def go(work, row):
    NewCase(1, _KIND, "s", {"direct": "z"})
    NewCase(1, _TABLE[1], "s", {})
    for each in ("NOBODY_KNOWS_C", "NOBODY_KNOWS_D"):
        _case(work, each, {"given": "1"})
    NewCase(1, row.kind, "s", row.detail)
'''


def test_a_case_that_nobody_gave_words_to_is_found_wherever_its_kind_comes_from(
    tmp_path: Path,
) -> None:
    place = tmp_path / "backend/journeys/bad.py"
    place.parent.mkdir(parents=True)
    place.write_text(_BAD, encoding="utf-8")
    kinds, details, unknown = shown(Tree(tmp_path))
    assert kinds == {f"NOBODY_KNOWS_{each}" for each in "ABCD"}
    assert details == {"direct", "given", "later", "returned"}
    assert unknown.keys() == {"row.kind", "row.detail"}
    assert missing("case.", kinds) == {
        lang: {f"case.{kind}" for kind in kinds} for lang in LANGUAGES
    }
