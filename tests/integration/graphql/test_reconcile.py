"""Bills, proofs and statements as an accountant sees them and works them off (C6, C11, A2)."""

from __future__ import annotations

import base64
from datetime import date

from backend.journeys.daily_statement import make_statements
from backend.kernel.db import unit_of_work
from backend.reconcile.statement_command import public_keys
from backend.reconcile.statement_rules import read_file, verify
from schema.scalars import ref

from ..world import BOX, World, new_id
from .door import PROBLEM
from .edge import Api, operator_token
from .reconcile_things import DAY, make_reconcile_things

DAYS = """query($p: ID!, $open: Boolean!) { billDays(project: $p, onlyOpen: $open) { edges { node {
  id day state lines matched billPaid bookPaid closedBy note } } } }"""
ITEMS = """query($d: ID!) { billItems(day: $d) { edges { node {
  id kind orderNo ours theirs reason resolvedBy note } } } }"""
CLOSE = f"""mutation($id: ID!) {{ answer: closeBillDay(id: $id, note: "looked at all") {{
  ... on BillDay {{ state closedBy }} {PROBLEM} }} }}"""
RESOLVE = f"""mutation($id: ID!, $n: String!) {{ answer: resolveBillItem(id: $id, note: $n) {{
  ... on BillItem {{ resolvedBy note }} ... on InvalidInputProblem {{ field }} {PROBLEM} }} }}"""
PROOFS = """query($p: ID!, $d: Boolean!) { meterProofs(project: $p, onlyDrift: $d) { edges { node {
  id meter day verdict reason posted resolvedBy } } } }"""
STATEMENT = """query($p: ID!, $d: Date!) { dailyStatement(project: $p, day: $d) {
  day hash previousHash keyName publicKey file } }"""


async def test_a_day_is_worked_off_item_by_item_and_then_closed(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    await make_reconcile_things(world, prefix="1")
    token, project = await operator_token(world), {"p": ref("Project", world.project.id)}
    seen = (await api.data(DAYS, project | {"open": True}, token=token))["billDays"]["edges"]
    by_day = {edge["node"]["day"]: edge["node"] for edge in seen}
    assert by_day[DAY.isoformat()]["state"] == "MATCHED"
    (differs,) = [node for node in by_day.values() if node["lines"] == 1]
    assert (differs["billPaid"], differs["bookPaid"]) == ("0.99", "0.00")
    refused = (await api.data(CLOSE, {"id": differs["id"]}, token=token))["answer"]
    assert refused["__typename"] == "ConflictProblem"
    items = (await api.data(ITEMS, {"d": differs["id"]}, token=token))["billItems"]["edges"]
    (item,) = [edge["node"] for edge in items]
    assert (item["kind"], item["ours"], item["theirs"]) == ("ONLY_THEIRS", None, "0.99")
    short = (await api.data(RESOLVE, {"id": item["id"], "n": "ok"}, token=token))["answer"]
    assert short["field"] == "note"
    note = {"id": item["id"], "n": "the bank gave it back"}
    ended = (await api.data(RESOLVE, note, token=token))["answer"]
    assert ended["note"] == "the bank gave it back"
    closed = (await api.data(CLOSE, {"id": differs["id"]}, token=token))["answer"]
    assert (closed["state"], closed["closedBy"]) == ("CLOSED", ended["resolvedBy"])
    left = (await api.data(DAYS, project | {"open": True}, token=token))["billDays"]["edges"]
    assert differs["id"] not in {edge["node"]["id"] for edge in left}
    all_days = (await api.data(DAYS, project | {"open": False}, token=token))["billDays"]["edges"]
    assert len(all_days) == len(left) + 1


async def test_a_drift_is_shown_until_it_is_ended(api: Api, worlds: tuple[World, World]) -> None:
    world = worlds[0]
    mine, token = await make_reconcile_things(world, prefix="1"), await operator_token(world)
    asked = {"p": ref("Project", world.project.id), "d": True}
    (edge,) = (await api.data(PROOFS, asked, token=token))["meterProofs"]["edges"]
    assert (edge["node"]["verdict"], edge["node"]["meter"]) == (
        "DRIFT",
        ref("Meter", world.meter.id),
    )
    done = await api.data(
        f'mutation($id: ID!) {{ answer: resolveMeterDrift(id: $id, note: "seal replaced") {{'
        f" ... on MeterProof {{ resolvedBy }} {PROBLEM} }} }}",
        {"id": mine["MeterProof"]},
        token=token,
    )
    assert done["answer"]["resolvedBy"]
    assert (await api.data(PROOFS, asked, token=token))["meterProofs"]["edges"] == []
    asked["d"] = False
    assert len((await api.data(PROOFS, asked, token=token))["meterProofs"]["edges"]) == 1


async def test_the_statement_that_is_handed_out_verifies_by_the_key_that_comes_with_it(
    api: Api, worlds: tuple[World, World]
) -> None:
    world, other = worlds
    for each in worlds:
        await make_statements(
            box=BOX,
            group_id=each.group_id,
            project_id=each.project.id,
            until=DAY,
            at=each.clock.now(),
        )
    token = await operator_token(world)
    asked = {"p": ref("Project", world.project.id), "d": DAY.isoformat()}
    told = (await api.data(STATEMENT, asked, token=token))["dailyStatement"]
    body = verify(read_file(told["file"]), keys=public_keys([told["publicKey"]]))
    assert (body["day"], body["project"]) == (DAY.isoformat(), str(world.project.id))
    assert told["previousHash"] is None
    assert len(base64.b64decode(told["publicKey"])) == 32
    # Another group's, a day without one, and one that is nobody's: the same silence.
    for project, day in (
        (ref("Project", other.project.id), DAY),
        (ref("Project", world.project.id), date(2020, 1, 1)),
        (ref("Project", new_id()), DAY),
    ):
        answer = await api.ask(STATEMENT, {"p": project, "d": day.isoformat()}, token=token)
        assert answer["data"] is None or answer["data"]["dailyStatement"] is None
        assert answer["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    async with unit_of_work(world.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM reconcile_statement") == 1
