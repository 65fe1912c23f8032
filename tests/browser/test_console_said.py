"""Sentences that the backend really makes, as the console itself shows them in each language."""

from __future__ import annotations

import asyncio
import functools
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path

import pytest

from backend.control.batch_rules import _NEXT, BatchState, check_step, numbers_of
from backend.control.command_rules import (
    CommandFacts,
    CommandKind,
    Given,
    Sight,
    compare_clock,
    compare_settings,
    decide_command,
    order_of,
)
from backend.control.price_rules import prices_for
from backend.control.rules import VendFacts, Wallet, decide_vend
from backend.control.second_word import check_second_word
from backend.control.supply_requests import RequestState
from backend.control.supply_rules import Why
from backend.journeys.command import unable
from backend.kernel.band_calendar import BANDS, Calendar, DaySlot, YearZone
from backend.kernel.errors import DomainError
from backend.kernel.money import Money
from backend.kernel.scope import Actor, Scope
from backend.tenancy.rules import Permission
from workers.links.remote import _refusal
from workers.models import meter_models

from .chromium import Tab, chromium
from .console import DESK
from .pages import CONSOLE

AT = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
_NOBODY = Scope(1, Actor("operator", "1", "ling"))
HOURS = {"zone1": 1_01_01, "zone2": 7_01_02} | {f"table1_{at}": at * 1_00_01 for at in range(1, 6)}
CODE = re.compile("|".join(rf"\b{code}\b" for code in (*CommandKind, *Why, *BatchState)))


@asynccontextmanager
async def speaking(folder: Path, language: str) -> AsyncIterator[Tab]:
    """A browser at the console's files, in this language."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing of what is fetched."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(CONSOLE)))
    serving = asyncio.create_task(asyncio.to_thread(server.serve_forever))
    kept = f"localStorage.setItem('shuidian.console.language', {language!r})"
    try:
        async with chromium(folder, user_agent=DESK) as tab:
            page = f"http://127.0.0.1:{server.server_port}/icon.svg"
            await tab.send("Page.navigate", url=page)
            while await tab.run("location.href") != page:
                await asyncio.wait_for(tab.run("document.readyState"), 10)
            await tab.run(kept)
            yield tab
    finally:
        server.shutdown()
        await serving
        server.server_close()


@dataclass(frozen=True)
class _Asked:
    """What waits for a second operator."""

    state: StrEnum
    asked_by: str
    expires_at: datetime


async def said(tab: Tab, sentences: list[str]) -> dict[str, str]:
    """What the console makes of sentences."""
    told = await tab.run(f"import('/said.js').then((m) => {json.dumps(sentences)}.map(m.told))")
    return dict(zip(sentences, told, strict=True))


def refusal(act: Callable[[], object]) -> str:
    """Why it is refused."""
    with pytest.raises(DomainError) as refused:
        act()
    return refused.value.message


def outcomes() -> Iterator[str]:
    """How commands end, or why they wait."""
    wanted = {"flat": 6000, "overload_w": 5000, "on": 1, "most_w": 800}
    seen = [
        (Sight.DIFFERS, "the relay is open"),
        (Sight.FITS, "the relay is closed"),
        (Sight.UNTOLD, "the relay is not told"),
        compare_settings(wanted, wanted),
        compare_settings(wanted, {"flat": 5000, "on": 0}),
        compare_settings(HOURS, {"zone1": 3_15_01, "table1_1": 7_30_02}, whole=True),
        compare_settings(HOURS, {}, whole=True),
        compare_clock(None),
        compare_clock(timedelta(seconds=90)),
    ]
    refused = (None, "the meter refuses: purchase count error")
    long_ago = (timedelta(0), timedelta(hours=1))
    for (sight, shown), writes, accepted, no, since, overdue in product(
        seen, (0, 1, 9), (False, True), refused, long_ago, (False, True)
    ):
        facts = CommandFacts(CommandKind.PRICES, writes, accepted, no, since, overdue, sight, shown)
        yield decide_command(facts)[1]
    for dar in range(40):
        yield _refusal(dar).message
    model = meter_models()["DDSY1352-NK"]
    for kind in CommandKind:
        yield unable(kind, None, "DDSY1352-NK")
        yield unable(kind, model, "DDSY1352-NK")
    for why in Why:
        yield f"supply: {why}"
        yield f"not wanted any more: {why}"
    for kind in CommandKind:
        yield f"a newer {kind} came"


def refusals() -> Iterator[str]:
    """Why an operator is refused what he asks for."""
    for step, allowed in _NEXT.items():
        for state in set(BatchState) - set(allowed):
            yield refusal(functools.partial(check_step, state, step))
    waits, after = RequestState.OPEN, AT + timedelta(days=9)
    for request, by, at in (
        (RequestState.APPROVED, "2", AT),
        (waits, "2", after),
        (waits, "1", AT),
    ):
        asked = _Asked(request, "1", AT + timedelta(days=1))
        actor = Actor("operator", by, "ling")
        rule = functools.partial(check_second_word, asked, waits_as=waits, approved=True)
        yield refusal(functools.partial(rule, actor=actor, at=at))
    price, much = Money(5000), Money(200_000)
    for kind, reason, prices, thresholds in (
        (CommandKind.TRIP, "", None, None),
        (CommandKind.TRIP, "检修停电", [("flat", price)], None),
        (CommandKind.LOAD_LIMITS, "检修停电", None, None),
        (CommandKind.PRICES, "检修停电", None, None),
        (CommandKind.PRICES, "检修停电", [("flat", much)], None),
        (CommandKind.PRICES, "检修停电", [("flat", price), ("flat", price)], None),
        (CommandKind.THRESHOLDS, "检修停电", None, {"alarm1": 55}),
        (CommandKind.THRESHOLDS, "检修停电", None, {"overload_w": 2_000_000}),
        (CommandKind.THRESHOLDS, "检修停电", None, {"nothing": 1}),
    ):
        yield refusal(
            functools.partial(
                order_of, kind=kind, reason=reason, given=Given(prices or (), thresholds or {})
            )
        )
    for zones, tables in (
        ((), ()),
        ((YearZone(1, 1, 1),), ()),
        ((YearZone(2, 30, 1),), ((DaySlot(0, "flat"),),)),
        ((YearZone(1, 1, 2),), ((DaySlot(0, "flat"),),)),
        ((YearZone(1, 1, 1),), ((DaySlot(5, "flat"),),)),
        ((YearZone(1, 1, 1),), ((DaySlot(0, "night"),),)),
        ((YearZone(1, 1, 1),) * 2, ((DaySlot(0, "flat"),),)),
    ):
        hours = Given(calendar=Calendar(zones, tables))
        kind = CommandKind.CALENDAR
        yield refusal(functools.partial(order_of, kind=kind, reason="检修停电", given=hours))
    for right in Permission:
        yield refusal(functools.partial(_NOBODY.require, right))
    yield refusal(lambda: numbers_of(""))
    yield refusal(lambda: numbers_of("1234\n" * 100_000))


def figures() -> Iterator[str]:
    """What meters and the book say of each other."""
    before = Wallet(2, Money(50_000))
    for known, count, remaining in (
        (before, 2, 50_000),
        (before, 7, 50_000),
        (None, 3, 50_000),
        (before, 3, 900_000),
        (before, 3, 10_000),
        (before, 3, 150_000),
    ):
        facts = VendFacts(3, Money(100_000), known, timedelta(0))
        yield decide_vend(facts, Wallet(count, Money(remaining)))[1]
    each = dict(zip(BANDS, (5, 4, 3, 2, 1), strict=True))
    yield prices_for((), each)[1]
    yield prices_for(("flat",), each)[1]


@pytest.mark.chromium
@pytest.mark.parametrize("make", [outcomes, refusals, figures])
async def test_what_the_backend_says_is_chinese_to_the_last_word(
    make: Callable[[], Iterator[str]], tmp_path: Path
) -> None:
    sentences = sorted(set(filter(None, make())))
    async with speaking(tmp_path / "zh", "zh") as tab:
        told = await said(tab, sentences)
    english = {s: t for s, t in told.items() if re.search("[a-z]{2}", t) or CODE.search(t)}
    assert english == {}


@pytest.mark.chromium
async def test_figures_and_names_stand_where_they_belong(tmp_path: Path) -> None:
    wanted = {
        "another meter answers here: its register is 123, the archive's last is 4560": (
            "应答的不是这块表：它的读数是 123，档案最后读数是 4560"
        ),
        "it was never written; the gateway cannot be reached": "没有写过；网关连不上",
        "FAILED: the meter took it, but flat is 0.50, ordered was 0.60": (
            "失败：表计已接受，但平为 0.50，下发的是 0.60"
        ),
        "a newer TRIP came": "已有更新的指令（拉闸 / 关阀）",
        "not wanted any more: PAID": "已不需要：有余额",
        "this meter is protected (life support) and is never tripped": (
            "此表在保护名单上（life support），不能拉闸"
        ),
        "paused by ling": "由 ling 暂停",
        "differs from our order: amount, transaction id": "与订单不一致：金额、交易号",
    }
    async with speaking(tmp_path / "zh", "zh") as tab:
        assert await said(tab, list(wanted)) == wanted


@pytest.mark.chromium
async def test_what_a_person_wrote_is_shown_as_he_wrote_it(tmp_path: Path) -> None:
    written = [
        *("读不到表", "room 5 has no water", "move him to room 3", "check A; then B", "A, B"),
        *("constructor", "flat 3 is empty, ordered was one", "$& {text} (.*)", ""),
    ]
    for language in ("zh", "en"):
        async with speaking(tmp_path / language, language) as tab:
            assert await said(tab, written) == {each: each for each in written}


@pytest.mark.chromium
async def test_english_has_sentences_and_no_codes_in_them(tmp_path: Path) -> None:
    sentences = sorted(set(filter(None, (*outcomes(), *refusals(), *figures()))))
    async with speaking(tmp_path / "en", "en") as tab:
        told = await said(tab, [*sentences, "the gateway's line says NO_ANSWER"])
    assert told.pop("the gateway's line says NO_ANSWER") == "the gateway's line says no answer"
    assert told["a newer TRIP came"] == "a newer Trip came"
    assert {s: t for s, t in told.items() if CODE.search(t) and "has an end" not in t} == {}
    coded = re.compile(f"{CODE.pattern}|flat|alarm1|spike|permission|on is|_")
    plain = {s: t for s, t in told.items() if not coded.search(s)}
    assert len(plain) > 40
    assert {s: t for s, t in plain.items() if s != t} == {}, "they are sentences already"
