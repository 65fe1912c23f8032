"""Days left, their error and their warning through the edge, each by who may see it (A22, C29)."""

from __future__ import annotations

from backend.journeys.forecast import tend_forecasts
from schema.scalars import ref

from ..forecasted import NINE, live, two_shops
from ..world import World, make_account
from .edge import Api, operator_token
from .test_page_cost import statements

FORECAST = """query($id: ID!) { account(id: $id) { no forecast { daysLeft zeroAt basis
  nextDayError { spans mean weighted } nextWeekError { spans mean weighted } } } }"""
RUNNING_OUT = """query($p: ID!) { runningOut(project: $p) { no daysLeft zeroAt }
  forecastDays(project: $p, first: 1) { day accounts mean weighted used } }"""
PAGE = """query($first: Int!) { projects { accounts(first: $first) { edges { node {
  no forecast { daysLeft basis } } } } } }"""
WARN = """mutation($p: ID!, $n: Int!) { answer: setDaysLeftWarning(project: $p, daysLeft: $n) {
  ... on DaysLeftWarning { daysLeft } ... on InvalidInputProblem { field }
  ... on Problem { code } } }"""
NOTHING = {"spans": 0, "mean": None, "weighted": None}


async def test_an_operator_sees_how_long_money_lasts_and_how_far_off_that_was(
    worlds: tuple[World, World], api: Api
) -> None:
    ours, theirs = worlds
    home = await two_shops(ours)
    await home.pay("20")
    await tend_forecasts(group_id=ours.group_id, at=NINE)
    for world in worlds:
        world.clock.instant = NINE
    token = await operator_token(ours)
    account = ref("Account", home.account.id)
    shown = (await api.data(FORECAST, {"id": account}, token=token))["account"]["forecast"]
    assert shown.pop("nextDayError") == {"spans": 21, "mean": "0.000", "weighted": "0.000"}
    assert shown.pop("nextWeekError") == {"spans": 3, "mean": "0.000", "weighted": "0.000"}
    assert shown == {"daysLeft": 2, "zeroAt": "2026-12-24T00:08:00+00:00", "basis": "OWN_USE"}
    listed = await api.data(RUNNING_OUT, {"p": ref("Project", ours.project.id)}, token=token)
    assert listed["runningOut"][-1] == {
        "no": home.account.no,
        "daysLeft": 2,
        "zeroAt": "2026-12-24T00:08:00+00:00",
    }
    # Half of what was said of Monday came: 3.42 of 114.66 yuan in 22 days were missed.
    await live(ours, [ours.meter.id, home.meter.id], first=28, days=1, percent=50)
    await tend_forecasts(group_id=ours.group_id, at=ours.clock.now())
    token = await operator_token(ours)
    shown = (await api.data(FORECAST, {"id": account}, token=token))["account"]["forecast"]
    assert shown["nextDayError"] == {"spans": 22, "mean": "0.045", "weighted": "0.030"}
    listed = await api.data(RUNNING_OUT, {"p": ref("Project", ours.project.id)}, token=token)
    assert listed["forecastDays"] == [
        {"day": "2026-12-21", "accounts": 2, "mean": "1.000", "weighted": "1.000", "used": "6.84"}
    ]
    stranger = await operator_token(theirs)
    refused = await api.ask(FORECAST, {"id": account}, token=stranger)
    assert refused["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    theirs_own = {"id": ref("Account", theirs.account.id)}
    shown = (await api.data(FORECAST, theirs_own, token=stranger))["account"]["forecast"]
    assert shown == {
        "daysLeft": None,
        "zeroAt": None,
        "basis": "LEARNING",
        "nextDayError": NOTHING,
        "nextWeekError": NOTHING,
    }


async def test_a_page_of_forecasts_costs_the_same_whatever_its_size(
    worlds: tuple[World, World], api: Api
) -> None:
    ours = worlds[0]
    await two_shops(ours)
    for n in range(12):
        await make_account(ours, no=f"40000{n:02d}")
    token = await operator_token(ours)
    costs = []
    for first in (2, 14):
        with statements() as seen:
            await api.data(PAGE, {"first": first}, token=token)
        costs.append(len(seen))
    assert costs[0] == costs[1]


async def test_when_customers_are_warned_is_set_by_a_named_right_within_bounds(
    worlds: tuple[World, World], api: Api
) -> None:
    ours = worlds[0]
    project = {"p": ref("Project", ours.project.id)}
    token = await operator_token(ours)
    assert await api.data(WARN, project | {"n": 7}, token=token) == {"answer": {"daysLeft": 7}}
    shown = await api.data(
        "query($p: ID!) { project(id: $p) { warnDaysLeft } }", project, token=token
    )
    assert shown["project"] == {"warnDaysLeft": 7}
    wrong = await api.data(WARN, project | {"n": 31}, token=token)
    assert wrong["answer"]["field"] == "daysLeft"
    reader = await operator_token(ours, role="auditor")
    assert (await api.data(WARN, project | {"n": 7}, token=reader))["answer"]["code"] == "FORBIDDEN"
