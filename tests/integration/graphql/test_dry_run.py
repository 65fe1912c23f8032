"""A rule of cuts is tried on the last month before it is saved, each group on its own book (C20, C29)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.journeys.policy_dry_run import DraftRule, dry_run
from backend.kernel.db import unit_of_work
from backend.kernel.errors import NotFound
from backend.kernel.money import Money
from backend.ledger.operations import post
from backend.ledger.rules import AccountKey, AccountKind, move
from schema.scalars import ref

from ..charged import Home, make_home
from ..forecasted import NINE, two_shops
from ..world import START, World, new_id
from .edge import Api, operator_token

NOW = datetime(2026, 12, 14, 2, 0, tzinfo=UTC)  # a Monday, ten o'clock in China
DAY = timedelta(days=1)
ASK = """query($p: ID!, $d: CutRuleDraft!, $n: Int! = 50, $skip: Int! = 0) {
  policyDryRun(project: $p, draft: $d, first: $n, skip: $skip) { lookedAt more
    before { cuts purses atNight onHolidays darkNights }
    after { cuts purses atNight onHolidays darkNights }
    cuts { no at warnedAt restoredAt owed nights atNight onHoliday already } } }"""
ALWAYS = {
    "window": {
        "opens": "06:00",
        "closes": "23:00",
        "weekdays": [1, 2, 3, 4, 5, 6, 7],
        "noticeHours": 1,
    }
}


async def _charged(
    home: Home, yuan: str, at: datetime, *, of: AccountKind = AccountKind.PURSE
) -> None:
    """So much was used, by the book."""
    used = move(
        business_key=f"test:{new_id()}",
        kind="CHARGE",
        debit=AccountKey(of, home.account.id),
        credit=AccountKey(AccountKind.ENERGY, home.world.project.id),
        amount=Money.parse(yuan),
    )
    async with unit_of_work(home.world.group_id) as work:
        await post(work, project_id=home.world.project.id, transfer=used, at=at)


@pytest.fixture
async def homes(worlds: tuple[World, World]) -> tuple[Home, Home]:
    """In both groups: 20 yuan, used up on a Thursday evening, paid for again on the Sunday after."""
    made = []
    for world in worlds:
        home = await make_home(world)
        await home.pay("20", at=START)
        await _charged(home, "16", NOW - 6 * DAY)  # Tuesday ten o'clock: warned
        await _charged(
            home, "4", NOW - 4 * DAY + timedelta(hours=9)
        )  # Thursday, seven in the evening
        await home.pay("30", at=NOW - 1 * DAY)
        world.clock.instant = NOW
        made.append(home)
    return made[0], made[1]


async def _ask(api: Api, home: Home, token: str, draft: dict[str, Any], **more: int) -> Any:
    given = {"p": ref("Project", home.world.project.id), "d": draft, **more}
    return (await api.data(ASK, given, token=token))["policyDryRun"]


async def test_a_draft_says_whom_it_cuts_when_and_how_many_at_night_beside_the_rule_in_force(
    homes: tuple[Home, Home], api: Api
) -> None:
    ours, _ = homes
    token = await operator_token(ours.world)
    as_it_is = await _ask(api, ours, token, {})
    one = {"cuts": 1, "purses": 1, "atNight": 0, "onHolidays": 0, "darkNights": 2}
    assert as_it_is["before"] == as_it_is["after"] == one
    assert as_it_is["cuts"] == [
        {
            "no": ours.account.no,
            "at": "2026-12-11T01:00:00+00:00",  # Friday, when the office opens
            "warnedAt": "2026-12-08T03:00:00+00:00",
            "restoredAt": "2026-12-13T02:00:00+00:00",
            "owed": "0.00",
            "nights": 2,
            "atNight": False,
            "onHoliday": False,
            "already": True,
        }
    ]
    tried = await _ask(api, ours, token, ALWAYS)
    assert tried["before"] == one
    assert tried["after"] == one | {"atNight": 1, "darkNights": 3}
    assert tried["cuts"][0]["at"] == "2026-12-10T12:00:00+00:00"
    spared = await _ask(api, ours, token, {"overdraft": "5.00"})
    assert spared["after"]["cuts"] == 0
    assert spared["cuts"] == []
    late = await _ask(api, ours, token, {"level": "0"})
    assert late["after"]["cuts"] == 0  # warned on Thursday evening, and paid before Monday


async def test_pages_rights_and_what_no_rule_may_be(homes: tuple[Home, Home], api: Api) -> None:
    ours, theirs = homes
    token = await operator_token(ours.world)
    page = await _ask(api, ours, token, {}, n=1, skip=1)
    assert (page["cuts"], page["more"], page["after"]["cuts"]) == ([], False, 1)
    night = {"window": ALWAYS["window"] | {"closes": "23:30"}}
    given = {"p": ref("Project", ours.world.project.id), "d": night}
    refused = await api.ask(ASK, given, token=token)
    assert refused["errors"][0]["extensions"]["code"] == "INVALID_INPUT"
    foreign = {"p": ref("Project", theirs.world.project.id), "d": {}}
    refused = await api.ask(ASK, foreign, token=token)
    assert refused["errors"][0]["extensions"]["code"] == "NOT_FOUND"


async def test_one_group_is_tried_on_its_own_book_alone_and_by_class(
    homes: tuple[Home, Home],
) -> None:
    ours, theirs = homes
    await _charged(theirs, "50", NOW - 5 * DAY, of=AccountKind.ENERGY_ARREARS)
    made = await ours.enter_class("old people", overdraft="10")

    async def run(home: Home, **given: Any) -> int:
        asked = {"draft": DraftRule(), "class_id": None, "first": 10, "skip": 0} | given
        found = await dry_run(
            scope=home.world.scope, project_id=home.world.project.id, at=NOW, **asked
        )
        return found.after.cuts

    assert await run(ours) == 0
    assert await run(ours, draft=DraftRule(overdraft=Money(0))) == 1
    assert await run(ours, draft=DraftRule(overdraft=Money(0)), class_id=made.id) == 1
    with pytest.raises(NotFound):
        await run(ours, class_id=new_id())
    assert await run(theirs) == 1
    with pytest.raises(NotFound):
        await dry_run(
            scope=ours.world.scope,
            project_id=theirs.world.project.id,
            draft=DraftRule(),
            class_id=None,
            first=10,
            skip=0,
            at=NOW,
        )


TIMED = """query($p: ID!, $plans: [DayPlanInput!]!, $n: Int! = 50, $after: String) {
  timetableDryRun(project: $p, plans: $plans, first: $n, afterNo: $after) {
    no days offMinutes atNight used } }"""
NOON = [
    {
        "kind": "WORKDAY",
        "slots": [
            {"start": "00:00", "on": True},
            {"start": "12:00", "on": False},
            {"start": "13:30", "on": True},
        ],
    },
    {"kind": "WEEKEND", "slots": [{"start": "00:00", "on": True}]},
]
NIGHTS = [
    {
        "kind": "WORKDAY",
        "slots": [
            {"start": "00:00", "on": False},
            {"start": "06:00", "on": True},
            {"start": "23:00", "on": False},
        ],
    }
]


async def test_a_timetable_says_what_nobody_could_have_used_before_it_is_made(
    worlds: tuple[World, World], api: Api
) -> None:
    ours, theirs = worlds
    home = await two_shops(ours)
    for world in worlds:
        world.clock.instant = NINE
    token = await operator_token(ours)

    async def run(plans: object, **more: object) -> list[dict[str, Any]]:
        given = {"p": ref("Project", ours.project.id), "plans": plans, **more}
        found: list[dict[str, Any]] = (await api.data(TIMED, given, token=token))["timetableDryRun"]
        return found

    noon = {row["no"]: row for row in await run(NOON)}
    # Twenty working days of four weeks, an hour and a half each, 1 kWh an hour.
    assert noon[home.account.no] == {
        "no": home.account.no,
        "days": 28,
        "offMinutes": 20 * 90,
        "atNight": 0,
        "used": "30.000",
    }
    nights = {row["no"]: row for row in await run(NIGHTS)}
    assert nights[home.account.no]["offMinutes"] == nights[home.account.no]["atNight"] == 28 * 420
    assert nights[home.account.no]["used"] == "19.600"
    assert [row["no"] for row in await run(NIGHTS, n=1)] == [sorted(nights)[0]]
    assert [row["no"] for row in await run(NIGHTS, n=1, after=sorted(nights)[0])] == [
        sorted(nights)[1]
    ]
    foreign = {"p": ref("Project", theirs.project.id), "plans": NOON}
    refused = await api.ask(TIMED, foreign, token=token)
    assert refused["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    always = [{"kind": "WORKDAY", "slots": [{"start": "00:00", "on": True}]}]
    given = {"p": ref("Project", ours.project.id), "plans": always}
    refused = await api.ask(TIMED, given, token=token)
    assert refused["errors"][0]["extensions"]["code"] == "INVALID_INPUT"
