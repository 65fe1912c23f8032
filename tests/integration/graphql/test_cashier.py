"""A cashier's day through GraphQL: shift, cash and slips, receipt, hand-over, what goes back (A15, A16)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from backend.kernel.db import unit_of_work
from backend.tenancy import operations as tenancy
from schema.scalars import ref

from ..desk import cloud
from ..world import World, new_id
from .doors import PROBLEM
from .edge import Api, operator_token

OPEN = f"""mutation($p: ID!, $d: String!) {{ answer: openShift(project: $p, desk: $d, change: "100") {{
  ... on Shift {{ id desk inDrawer closedAt }} {PROBLEM} }} }}"""
TAKE = f"""mutation($a: ID!, $c: Channel!, $s: String, $k: String!, $m: ID) {{
  answer: cashierTopUp(
    account: $a, amount: "50", channel: $c, slipNo: $s, idempotencyKey: $k, meter: $m) {{
    ... on TopUp {{ id channel method money }} {PROBLEM} }} }}"""
RECEIPT = f"""mutation($t: ID!) {{ answer: printReceipt(topUp: $t) {{
  ... on Receipt {{ copy paid credited ticket }} {PROBLEM} }} }}"""
REFUND = f"""mutation($t: ID!, $k: String!) {{
  answer: requestRefund(topUp: $t, amount: "20", reason: "moved out", idempotencyKey: $k) {{
    ... on Refund {{ id state channel }} {PROBLEM} }} }}"""
FETCH = f"""mutation($r: ID!, $s: String) {{ answer: payOutRefund(refund: $r, slipNo: $s) {{
  ... on Refund {{ state }} {PROBLEM} }} }}"""
GIVE = f"""mutation($s: ID!, $to: ID!) {{ answer: handOverShift(shift: $s, counted: "130", to: $to) {{
  ... on Shift {{ id operator change inDrawer takenFrom }} {PROBLEM} }} }}"""
SHIFTS = """query($p: ID!) { shifts(project: $p) { edges { node {
  id closedAt book counted difference lines { channel paidOut count amount } } } } }"""


async def cashier(world: World, *, login: str) -> tuple[str, UUID]:
    """A cashier of the project who may take money: (id in the schema, uuid)."""
    async with unit_of_work(world.group_id) as work:
        made = await tenancy.add_operator(
            work,
            scope=world.scope,
            login=login,
            name=login,
            password_hash="-",
            at=world.clock.now(),
        )
        await tenancy.grant(
            work,
            scope=world.scope,
            operator_id=made.id,
            role="cashier",
            project_id=world.project.id,
            at=world.clock.now(),
        )
    return ref("Operator", made.id), made.id


async def test_a_cashier_opens_takes_prints_pays_out_and_hands_over(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = await cloud(worlds[0])
    token = await operator_token(world, role="cashier", project_id=world.project.id)
    project, account = ref("Project", world.project.id), ref("Account", world.account.id)

    async def say(document: str, **variables: object) -> Any:
        return (await api.data(document, variables, token=token))["answer"]

    refused = await say(TAKE, a=account, c="CASH", k="desk-key-1")
    assert "open a shift" in refused["message"]
    shift = await say(OPEN, p=project, d="一号窗口")
    assert (shift["inDrawer"], shift["closedAt"]) == ("100.00", None)
    cash = await say(TAKE, a=account, c="CASH", k="desk-key-1")
    assert (cash["channel"], cash["method"], cash["money"]) == ("CASH", "COUNTER", "PAID")
    assert await say(TAKE, a=account, c="CASH", k="desk-key-1") == cash, "a repeat takes nothing"
    card = await say(TAKE, a=account, c="CARD", s="A0001", k="desk-key-2")
    assert card["channel"] == "CARD"
    used = await say(TAKE, a=account, c="CARD", s="A0001", k="desk-key-3")
    assert used["__typename"] == "ConflictProblem"
    others = [
        await say(TAKE, a=account, c="CASH", k=f"desk-other-{n}", m=ref("Meter", id_))
        for n, id_ in enumerate((worlds[1].meter.id, new_id()))
    ]
    assert others[0] == others[1], "a foreign meter is like one that is not there"
    assert "no such meter" in others[0]["message"]
    wrong = await say(TAKE, a=account, c="WECHAT_PAY", k="desk-key-4")
    assert wrong["__typename"] == "InvalidInputProblem"
    printed = [await say(RECEIPT, t=cash["id"]) for _ in range(2)]
    assert [one["copy"] for one in printed] == [1, 2]
    assert "补打" not in printed[0]["ticket"]
    assert "补打" in printed[1]["ticket"]
    refund = await say(REFUND, t=cash["id"], k="desk-key-5")
    assert (refund["state"], refund["channel"]) == ("APPROVED", "CASH")
    assert await say(FETCH, r=refund["id"]) == {"state": "DONE"} | {"__typename": "Refund"}
    to, _ = await cashier(world, login="next")
    following = await say(GIVE, s=shift["id"], to=to)
    assert (following["operator"], following["change"], following["inDrawer"]) == (
        "next",
        "130.00",
        "130.00",
    )
    assert following["takenFrom"] == shift["id"]
    shown = await api.data(SHIFTS, {"p": project}, token=token)
    closed = next(e["node"] for e in shown["shifts"]["edges"] if e["node"]["id"] == shift["id"])
    assert (closed["book"], closed["counted"], closed["difference"]) == ("130.00", "130.00", "0.00")
    assert closed["lines"] == [
        {"channel": "CARD", "paidOut": False, "count": 1, "amount": "50.00"},
        {"channel": "CASH", "paidOut": False, "count": 1, "amount": "50.00"},
        {"channel": "CASH", "paidOut": True, "count": 1, "amount": "20.00"},
    ]


async def _of_another_group(api: Api, other: World) -> dict[str, str]:
    """The ids that a foreign cashier's day leaves behind."""
    token = await operator_token(other)
    project, account = ref("Project", other.project.id), ref("Account", other.account.id)

    async def say(document: str, **variables: object) -> Any:
        return (await api.data(document, variables, token=token))["answer"]

    shift = await say(OPEN, p=project, d="desk")
    topup = await say(TAKE, a=account, c="CASH", k="their-key-1")
    refund = await say(REFUND, t=topup["id"], k="their-key-2")
    to, _ = await cashier(other, login="theirs")
    return {"account": account, "shift": shift["id"], "refund": refund["id"], "to": to}


@pytest.mark.parametrize("role", ["administrator", "auditor", None])
async def test_the_desk_opens_for_no_foreign_or_missing_id_and_for_nobody_without_the_right(
    api: Api, worlds: tuple[World, World], role: str | None
) -> None:
    world, other = await cloud(worlds[0]), await cloud(worlds[1])
    foreign = await _of_another_group(api, other)
    token = await operator_token(world, role=role)
    if role == "administrator":
        project = ref("Project", world.project.id)
        mine = (await api.data(OPEN, {"p": project, "d": "desk"}, token=token))["answer"]["id"]
    else:
        mine = ref("Shift", new_id())
    kinds = {"account": "Account", "shift": "Shift", "refund": "Refund", "to": "Operator"}
    missing = {name: ref(kind, new_id()) for name, kind in kinds.items()}
    malformed = dict.fromkeys(kinds, "%%%")
    told: dict[str, set[tuple[str, str]]] = {
        name: set() for name in ("take", "fetch", "give", "taker")
    }
    for asked in (foreign, missing, malformed):
        tries = {
            "take": (TAKE, {"a": asked["account"], "c": "CASH", "k": "some-key-1"}),
            "fetch": (FETCH, {"r": asked["refund"]}),
            "give": (GIVE, {"s": asked["shift"], "to": asked["to"]}),
            "taker": (GIVE, {"s": mine, "to": asked["to"]}),
        }
        for name, (document, variables) in tries.items():
            answer = (await api.data(document, variables, token=token))["answer"]
            told[name].add((answer["__typename"], answer["message"]))
    assert all(len(answers) == 1 for answers in told.values()), told
    kind = "NotFoundProblem" if role == "administrator" else "ForbiddenProblem"
    assert {next(iter(answers))[0] for answers in told.values()} == {kind}
    async with unit_of_work(other.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM topups_shift WHERE closed_at IS NULL") == 1
        assert await work.fetchval("SELECT state FROM topups_refund") == "APPROVED"
