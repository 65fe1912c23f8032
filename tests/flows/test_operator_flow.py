"""What an operator sees and does: readings, live top-ups, exception cases, other groups' silence."""

from __future__ import annotations

from functools import partial
from typing import Any

from backend.kernel.money import Money
from workers.drivers.modbus import ModbusDriver
from workers.links.tcp import TcpLink
from workers.profiles.loader import profile_of

from .town import Town, until

LOGIN = (
    "mutation($l: String!, $p: String!) {"
    " login(login: $l, password: $p) { __typename ... on SignedIn { token } } }"
)
ACCOUNT = (
    "query($no: String!) { account(no: $no) { id name phone meters { id serial online"
    " latest { at remaining purchaseCount relay total } } ledger { atMeters }"
    " topUps(first: 5) { edges { node { id money meterCredit power purchaseNo } } } } }"
)


async def _sign_in(town: Town, login: str) -> str:
    data = await town.graphql(LOGIN, l=login, p=town.secrets.passwords[login])
    return str(data["login"]["token"])


async def test_the_operator_sees_the_meter_the_tenant_and_the_three_states(town: Town) -> None:
    await town.bind()
    await town.pay(await town.order(await town.link()))
    await town.vend_state("VERIFIED")
    token = await _sign_in(town, f"admin@{town.ours.code}")
    account = (await town.graphql(ACCOUNT, bearer=token, no=town.shop.no))["account"]
    assert account["phone"] == f"{town.shop.phone[:3]}****{town.shop.phone[-4:]}"
    latest = account["meters"][0]["latest"]
    assert (latest["relay"], latest["purchaseCount"]) == ("ON", 1)
    assert account["ledger"]["atMeters"] == "50.00"
    node = account["topUps"]["edges"][0]["node"]
    assert (node["money"], node["meterCredit"], node["power"]) == ("PAID", "CREDITED", "ON")


async def test_another_groups_operator_finds_no_such_account(town: Town) -> None:
    token = await _sign_in(town, f"admin@{town.theirs.code}")
    answer = await town.client.post(
        f"{town.api}/graphql",
        json={"query": ACCOUNT, "variables": {"no": town.shop.no}},
        headers={"authorization": f"Bearer {token}"},
    )
    assert town.shop.name not in answer.text
    assert not (answer.json().get("data") or {}).get("account")


async def test_every_meter_is_read_and_a_dead_gateway_costs_the_others_nothing(town: Town) -> None:
    dead = town.site.gateways[town.theirs.sites[0].gateway]

    async def read(group: Any) -> bool | None:
        count = await town.value("SELECT count(*) FROM metering_reading", group=group)
        return True if count >= 4 else None  # two opening readings and a sweep of two

    # Sweeps are spread over the first minutes of their period: whatever the hour, now is the time.
    now = "UPDATE outbox_event SET due_at = now() WHERE topic = 'sweep.due' RETURNING 1"
    for group in (town.ours, town.theirs):
        await until(partial(town.value, now, group=group), "the planned sweep")
    await until(lambda: read(town.ours), "our sweep")
    await until(lambda: read(town.theirs), "their sweep")
    await dead.set_offline(True)
    ask_again = (
        "UPDATE outbox_event SET done_at = NULL, due_at = now()"
        " WHERE topic = 'sweep.due' RETURNING 1"
    )
    await town.value(ask_again, group=town.theirs)
    await town.value(ask_again)
    silent = "SELECT silent_since IS NOT NULL FROM metering_gateway"

    async def lost() -> bool | None:
        return await town.value(silent, group=town.theirs) or None

    await until(lost, "the lost gateway")
    assert await town.value(silent) is False

    async def read_again() -> bool | None:
        return True if await town.value("SELECT count(*) FROM metering_reading") >= 6 else None

    await until(read_again, "our second sweep")


async def test_a_reading_on_request_arrives_within_seconds(town: Town) -> None:
    token = await _sign_in(town, f"admin@{town.ours.code}")
    account = (await town.graphql(ACCOUNT, bearer=token, no=town.shop.no))["account"]
    before = account["meters"][0]["latest"]["at"]
    data = await town.graphql(
        "mutation($id: ID!) { refreshMeter(id: $id) { __typename } }",
        bearer=token,
        id=account["meters"][0]["id"],
    )
    assert data["refreshMeter"]["__typename"] == "MeterRefresh"

    async def newer() -> bool | None:
        now = (await town.graphql(ACCOUNT, bearer=token, no=town.shop.no))["account"]
        return True if now["meters"][0]["latest"]["at"] > before else None

    await until(newer, "the reading")


async def test_an_operator_works_off_a_stopped_vend_with_a_note(town: Town) -> None:
    await town.bind()
    order = await town.order(await town.link())
    meter, gateway = town.site.meters[town.shop.meter]
    # A write of ours that the cloud does not know of (say, from a restored backup) moved the count.
    link = TcpLink("127.0.0.1", gateway.port)
    driver = ModbusDriver(profile_of("DDSY1352-NK"), meter.spec.unit, link.exchange)
    await driver.credit(amount=Money.of_fen(100), purchase_count=1)
    await link.close()
    await town.pay(order)
    await town.case("VEND_STOPPED")

    token = await _sign_in(town, f"admin@{town.ours.code}")
    project = (await town.graphql("{ projects { id } }", bearer=token))["projects"][0]["id"]
    cases = await town.graphql(
        "query($p: ID!) { cases(project: $p, first: 5) { edges { node { id kind } } } }",
        bearer=token,
        p=project,
    )
    case = cases["cases"]["edges"][0]["node"]
    assert case["kind"] == "VEND_STOPPED"
    resolve = (
        "mutation($id: ID!, $note: String!) { resolveCase(id: $id, action: RETRY, note: $note) {"
        " __typename ... on Problem { message } } }"
    )
    no_note = await town.graphql(resolve, bearer=token, id=case["id"], note="")
    assert no_note["resolveCase"]["__typename"] == "InvalidInputProblem"
    done = await town.graphql(resolve, bearer=token, id=case["id"], note="现场核对，仍不符")
    assert done["resolveCase"]["__typename"] == "Case"
    # The count still does not fit: the worker asks the meter first and stops again.
    await town.case("VEND_STOPPED")
    assert await town.sold_fen() == 100
    resolved = "SELECT count(*) FROM audit_entry WHERE action = 'case:self:resolve'"
    assert await town.value(resolved) == 1
