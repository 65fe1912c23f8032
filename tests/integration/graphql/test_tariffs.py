"""Tariffs through the edge: two persons, typed refusals, terms word for word, what use would cost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from backend.kernel.db import unit_of_work
from backend.tariffs.queries import accounts_of_tariff
from schema.scalars import ref, uuid_of

from ..priced import flat, in_force, later, make_tariff, priced
from ..world import START, World, make_account, make_project
from .edge import Api, operator_token
from .test_page_cost import statements
from .things import make_things, nothing

Two = tuple[World, World]
VERSION = """ ... on TariffVersion { id number state draftedBy submittedBy decidedBy jumps note }
  ... on InvalidInputProblem { field } ... on Problem { __typename code message }"""
ADD = """mutation($p: ID!, $n: String!, $k: TariffKind = ELECTRICITY) {
  answer: addTariff(project: $p, kind: $k, name: $n) { ... on Tariff { id name kind project }
  ... on Problem { __typename message } } }"""
DRAFT = f"""mutation($t: ID!, $at: DateTime!, $terms: TariffTermsInput!) {{
  answer: draftTariffVersion(tariff: $t, effectiveAt: $at, terms: $terms) {{ {VERSION} }} }}"""
SUBMIT = f"""mutation($v: ID!, $c: Boolean = false) {{
  answer: submitTariffVersion(version: $v, confirmJumps: $c) {{ {VERSION} }} }}"""
APPROVE = f"mutation($v: ID!) {{ answer: approveTariffVersion(version: $v) {{ {VERSION} }} }}"
REJECT = f"""mutation($v: ID!, $n: String!) {{
  answer: rejectTariffVersion(version: $v, note: $n) {{ {VERSION} }} }}"""
ASSIGN = """mutation($t: ID!, $a: [ID!]!, $at: DateTime!) {
  answer: assignTariff(tariff: $t, accounts: $a, startedAt: $at) {
  ... on TariffAssigned { accounts startedAt } ... on Problem { __typename code message } } }"""
CHANGE = """ ... on TariffChange { id state accounts startedAt proposedBy decidedBy note }
  ... on Problem { __typename code message }"""
PROPOSE = f"""mutation($t: ID!, $a: [ID!]!, $at: DateTime!) {{
  answer: proposeTariffChange(tariff: $t, accounts: $a, startedAt: $at) {{ {CHANGE} }} }}"""
AGREE = f"mutation($c: ID!) {{ answer: approveTariffChange(change: $c) {{ {CHANGE} }} }}"
CHANGES = """query($p: ID!, $after: String) { tariffChanges(project: $p, first: 1, after: $after) {
  edges { node { id state } } pageInfo { hasNextPage endCursor } } }"""
LIST = """query($p: ID!) { tariffs(project: $p) { id name kind
  versions(first: 5) { number state effectiveAt terms { monthly } } } }"""
TERMS = """query($id: ID!) { node(id: $id) { ... on TariffVersion { terms { kind
  seasons { month day prices { band price } workday weekend }
  dayPlans { start band } dates { date dayPlan } stepPeriod yearStartsIn
  steps { above surcharge } loss { perUnit percent } public { perUnit percent }
  service { perUnit percent } monthly } } } }"""
PRICE = """query($v: ID!, $u: [BandUseInput!]!, $b: Decimal, $on: Date = "2026-08-03") {
  priceUsage(version: $v, use: $u, usedBefore: $b, on: $on) {
    total lines { kind detail quantity price percent amount } } }"""
PLAIN: dict[str, Any] = {"seasons": [{"prices": [{"band": "flat", "price": "0.60"}]}]}
RICH: dict[str, Any] = {
    "seasons": [
        {
            "month": 1,
            "day": 1,
            "prices": [{"band": "flat", "price": "0.60"}],
            "workday": 0,
            "weekend": 0,
        },
        {
            "month": 7,
            "day": 1,
            "prices": [
                {"band": "spike", "price": "1.20"},
                {"band": "peak", "price": "0.90"},
                {"band": "flat", "price": "0.60"},
                {"band": "valley", "price": "0.30"},
                {"band": "deep", "price": "0.1234"},
            ],
            "workday": 1,
            "weekend": 0,
        },
    ],
    "dayPlans": [
        [{"start": "00:00", "band": "valley"}, {"start": "08:30", "band": "peak"}],
        [{"start": "00:00", "band": "deep"}, {"start": "23:59", "band": "spike"}],
    ],
    "dates": [{"date": "2026-10-01", "dayPlan": 1}],
    "stepPeriod": "YEAR",
    "yearStartsIn": 7,
    "steps": [
        {"above": "2760.000", "surcharge": "0.05"},
        {"above": "4800.500", "surcharge": "0.30"},
    ],
    "loss": {"perUnit": "0.00", "percent": "3.05"},
    "public": {"perUnit": "0.0123", "percent": "0.00"},
    "service": {"perUnit": "0.01", "percent": "0.50"},
    "monthly": "31.00",
}


async def drafted(api: Api, world: World, token: str, terms: dict[str, Any]) -> tuple[str, Any]:
    """A tariff with a draft that would hold from START on: (tariff, version)."""
    made = await api.data(ADD, {"p": ref("Project", world.project.id), "n": "Shops"}, token=token)
    tariff = made["answer"]["id"]
    given = {"t": tariff, "at": START.isoformat(), "terms": terms}
    return tariff, (await api.data(DRAFT, given, token=token))["answer"]


async def test_a_price_goes_from_draft_to_account_by_two_persons(api: Api, worlds: Two) -> None:
    world, other = worlds
    author, second = await operator_token(world), await operator_token(world)
    tariff, draft = await drafted(api, world, author, PLAIN)
    assert (draft["number"], draft["state"], draft["submittedBy"]) == (1, "DRAFT", None)
    waiting = (await api.data(SUBMIT, {"v": draft["id"]}, token=author))["answer"]
    assert waiting["state"] == "SUBMITTED"
    own = (await api.data(APPROVE, {"v": draft["id"]}, token=author))["answer"]
    assert (own["__typename"], own["code"]) == ("ForbiddenProblem", "FORBIDDEN")
    done = (await api.data(APPROVE, {"v": draft["id"]}, token=second))["answer"]
    assert done["state"] == "APPROVED"
    assert done["decidedBy"] != done["draftedBy"] == done["submittedBy"]
    accounts = [world.account, *[await make_account(world, no=f"10020{n}") for n in range(2)]]
    given = {
        "t": tariff,
        "a": [ref("Account", account.id) for account in accounts],
        "at": START.isoformat(),
    }
    answer = (await api.data(ASSIGN, given, token=author))["answer"]
    assert answer == {"accounts": 3, "startedAt": START.isoformat()}
    async with unit_of_work(world.group_id) as work:
        held = await accounts_of_tariff(
            work, tariff_id=uuid_of(tariff, "Tariff"), at=START, limit=9
        )
    assert set(held) == {account.id for account in accounts}
    theirs = await api.data(
        LIST, {"p": ref("Project", other.project.id)}, token=await operator_token(other)
    )
    assert theirs["tariffs"] == []


async def test_terms_are_shown_word_for_word_as_they_were_given(api: Api, worlds: Two) -> None:
    world = worlds[0]
    token = await operator_token(world)
    _, draft = await drafted(api, world, token, RICH)
    shown = (await api.data(TERMS, {"id": draft["id"]}, token=token))["node"]["terms"]
    assert shown == {"kind": "ELECTRICITY", **RICH}
    _, plain = await drafted(api, worlds[1], await operator_token(worlds[1]), PLAIN)
    left_out = await api.data(TERMS, {"id": plain["id"]}, token=await operator_token(worlds[1]))
    assert left_out["node"]["terms"]["dayPlans"] == [[{"start": "00:00", "band": "flat"}]]


async def test_what_use_would_cost_is_told_line_by_line_and_charges_nothing(
    api: Api, worlds: Two
) -> None:
    world = worlds[0]
    token = await operator_token(world, role="administrator")
    _, draft = await drafted(api, world, token, RICH)
    auditor = await operator_token(world, role="auditor")
    given = {
        "v": draft["id"],
        "u": [{"band": "peak", "quantity": "100"}, {"band": "deep", "quantity": "0.5"}],
        "b": "2700",
    }
    priced_use = (await api.data(PRICE, given, token=auditor))["priceUsage"]
    told = [
        (line["kind"], line["detail"], line["quantity"], line["amount"])
        for line in priced_use["lines"]
    ]
    assert told == [
        ("ENERGY", "peak", "100.000", "90.00"),
        ("ENERGY", "deep", "0.500", "0.0617"),
        ("STEP", "2", "40.500", "2.0250"),
        ("LOSS", "", "100.500", "2.8086"),
        ("PUBLIC", "", "100.500", "1.2362"),
        ("SERVICE", "", "100.500", "1.4654"),
    ]
    assert priced_use["total"] == "97.5969"
    winter = await api.data(PRICE, given | {"on": "2026-03-02", "b": "0"}, token=auditor)
    assert [line["detail"] for line in winter["priceUsage"]["lines"]] == ["", "", "", ""]
    async with unit_of_work(world.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM ledger_entry") == 0


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"seasons": []}, "seasons"),
        ({"seasons": [{"prices": []}]}, "prices"),
        ({"seasons": [{"prices": [{"band": "flat", "price": "1"}] * 2}]}, "prices"),
        ({"seasons": [{"prices": [{"band": "flat", "price": "-0.01"}]}]}, "prices"),
        ({**PLAIN, "dayPlans": [[{"start": "24:00", "band": "flat"}]]}, "dayPlans"),
        ({**PLAIN, "dayPlans": [[{"start": "0:00", "band": "flat"}]]}, "dayPlans"),
        ({**PLAIN, "steps": [{"above": "-5", "surcharge": "1"}]}, "steps"),
        ({**PLAIN, "steps": [{"above": "1e3", "surcharge": "1"}]}, "steps"),
        ({**PLAIN, "loss": {"percent": "3.055"}}, "loss"),
        ({**PLAIN, "loss": {"percent": "101"}}, "loss.share"),
        ({**PLAIN, "monthly": "100000.01"}, "monthly"),
        ({**PLAIN, "yearStartsIn": 3}, "yearStartsIn"),
    ],
)
async def test_terms_that_make_no_sense_name_what_is_wrong_and_leave_no_version(
    terms: dict[str, Any], field: str, api: Api, worlds: Two
) -> None:
    world = worlds[0]
    token = await operator_token(world)
    _, answer = await drafted(api, world, token, terms)
    assert (answer["__typename"], answer["field"]) == ("InvalidInputProblem", field)
    listed = await api.data(LIST, {"p": ref("Project", world.project.id)}, token=token)
    assert [each["versions"] for each in listed["tariffs"]] == [[]]


async def test_a_price_typed_a_hundred_times_too_high_needs_a_second_word(
    api: Api, worlds: Two
) -> None:
    world = worlds[0]
    tariff = await priced(world)
    token = await operator_token(world)
    terms = {"seasons": [{"prices": [{"band": "flat", "price": "60.00"}]}]}
    given = {"t": ref("Tariff", tariff.id), "at": later(days=1).isoformat(), "terms": terms}
    draft = (await api.data(DRAFT, given, token=token))["answer"]
    answer = (await api.data(SUBMIT, {"v": draft["id"]}, token=token))["answer"]
    assert (answer["__typename"], answer["field"]) == ("InvalidInputProblem", "confirmJumps")
    assert "flat: 6000 -> 600000" in answer["message"]
    sure = (await api.data(SUBMIT, {"v": draft["id"], "c": True}, token=token))["answer"]
    assert "flat: 6000 -> 600000" in sure["jumps"]
    no = {"v": draft["id"], "n": "a slip of the comma"}
    refused = (await api.data(REJECT, no, token=await operator_token(world)))["answer"]
    assert (refused["state"], refused["note"]) == ("REJECTED", "a slip of the comma")


async def test_one_foreign_account_in_a_batch_refuses_it_all_without_a_trace(
    api: Api, worlds: Two
) -> None:
    world, other = worlds
    mine, foreign = await make_things(world), await make_things(other)
    second = await make_things(await make_project(world), prefix="2")
    token = await operator_token(world, project_id=world.project.id)
    count = "SELECT count(*) FROM tariffs_assignment"
    async with unit_of_work(world.group_id) as work:
        before = await work.fetchval(count)
    told = []
    for stranger in (foreign, second, nothing()):
        given = {"t": mine.Tariff, "a": [mine.Account, stranger.Account], "at": START.isoformat()}
        told.append((await api.data(ASSIGN, given, token=token))["answer"])
    assert told == [told[0]] * 3
    assert told[0]["code"] == "NOT_FOUND"
    async with unit_of_work(world.group_id) as work:
        assert await work.fetchval(count) == before


async def test_a_manager_of_one_project_prices_there_and_nowhere_else(
    api: Api, worlds: Two
) -> None:
    world = worlds[0]
    second = await make_project(world)
    manager = await operator_token(world, role="manager", project_id=world.project.id)
    here = await api.data(ADD, {"p": ref("Project", world.project.id), "n": "A"}, token=manager)
    assert here["answer"]["kind"] == "ELECTRICITY"
    there = await api.data(ADD, {"p": ref("Project", second.project.id), "n": "B"}, token=manager)
    assert there["answer"]["__typename"] == "NotFoundProblem"


async def test_the_versions_of_all_tariffs_of_a_page_are_one_statement(
    api: Api, worlds: Two
) -> None:
    world = worlds[0]
    token, costs = await operator_token(world), []
    project = {"p": ref("Project", world.project.id)}
    for number in range(3):
        await priced(world, name=f"Tariff {number}") if number == 0 else await api.data(
            ADD, project | {"n": f"Tariff {number}"}, token=token
        )
        with statements() as logged:
            data = await api.data(LIST, project, token=token)
        costs.append(len([text for text in logged if "tariffs_version" in text]))
        assert [len(each["versions"]) for each in data["tariffs"]] == [1, *[0] * number]
    assert costs == [1, 1, 1]


async def test_a_version_that_came_too_late_is_told_to_be_drafted_anew(
    api: Api, worlds: Two
) -> None:
    world = worlds[0]
    tariff = await priced(world)
    token = await operator_token(world)
    given = {"t": ref("Tariff", tariff.id), "at": later(hours=1).isoformat(), "terms": PLAIN}
    draft = (await api.data(DRAFT, given, token=token))["answer"]
    world.clock.advance(timedelta(minutes=29))
    await api.data(SUBMIT, {"v": draft["id"]}, token=token)
    world.clock.advance(timedelta(minutes=29))
    second = await operator_token(world)
    world.clock.advance(timedelta(minutes=3))
    answer = (await api.data(APPROVE, {"v": draft["id"]}, token=second))["answer"]
    assert answer["code"] == "CONFLICT"
    assert "draft it anew" in answer["message"]


async def test_another_tariff_for_an_account_takes_two_persons(api: Api, worlds: Two) -> None:
    world = worlds[0]
    await priced(world)
    other = await make_tariff(world, name="Big shops")
    await in_force(world, other, terms=flat(5_000))
    author, second = await operator_token(world), await operator_token(world)
    account = ref("Account", world.account.id)
    given = {"t": ref("Tariff", other.id), "a": [account], "at": later(days=1).isoformat()}
    alone = (await api.data(ASSIGN, given, token=author))["answer"]
    assert (alone["code"], "second person" in alone["message"]) == ("CONFLICT", True)
    change = (await api.data(PROPOSE, given, token=author))["answer"]
    assert (change["state"], change["accounts"]) == ("PROPOSED", [account])
    own = (await api.data(AGREE, {"c": change["id"]}, token=author))["answer"]
    assert own["code"] == "FORBIDDEN"
    done = (await api.data(AGREE, {"c": change["id"]}, token=second))["answer"]
    assert (done["state"], done["proposedBy"]) == ("APPROVED", change["proposedBy"])
    world.clock.advance(timedelta(seconds=1))
    again = (await api.data(PROPOSE, given, token=author))["answer"]
    project = {"p": ref("Project", world.project.id)}
    first = (await api.data(CHANGES, project, token=author))["tariffChanges"]
    assert first["edges"] == [{"node": {"id": again["id"], "state": "PROPOSED"}}]
    after = {"after": first["pageInfo"]["endCursor"]}
    rest = (await api.data(CHANGES, project | after, token=author))["tariffChanges"]
    assert rest["edges"] == [{"node": {"id": change["id"], "state": "APPROVED"}}]
    assert not rest["pageInfo"]["hasNextPage"]
