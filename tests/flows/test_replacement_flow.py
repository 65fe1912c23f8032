"""A meter is replaced from the console: the new virtual meter holds the old one's money exactly once."""

from __future__ import annotations

import signal
from typing import Any

from .test_command_flow import LOGIN
from .town import Town, until

METERS = "query($no: String!) { account(no: $no) { id meters { id serial } } }"
REPLACE = (
    "mutation($m: ID!, $to: ID!, $k: String!) { replaceMeter(meter: $m, to: $to,"
    ' reason: "屏幕不亮，换新表", idempotencyKey: $k) {'
    " __typename ... on Takedown { id state } ... on Problem { message } } }"
)
TAKEDOWN = "query($id: ID!) { node(id: $id) { ... on Takedown { state moved used outcome } } }"
CLOSE = (
    'mutation($a: ID!, $k: String!) { closeAccount(account: $a, reason: "租约到期，搬离",'
    " idempotencyKey: $k) { __typename ... on Closing { id } ... on Problem { message } } }"
)


async def test_a_neighbours_spare_meter_takes_over_the_money_exactly_once(town: Town) -> None:
    """The second shop closes, its meter is free, and takes over from the first shop's dying one."""
    login = f"admin@{town.ours.code}"
    answer = await town.graphql(LOGIN, l=login, p=town.secrets.passwords[login])
    token = answer["login"]["token"]
    first, second = town.ours.sites[0].homes

    async def account(no: str) -> Any:
        return (await town.graphql(METERS, bearer=token, no=no))["account"]

    await town.bind()
    order = await town.order(await town.link("充值 50"))
    await town.pay(order)
    await town.vend_state("VERIFIED")
    assert await town.wallet() == (7000, 1)

    leaving, staying = await account(second.no), await account(first.no)
    new_meter, old_meter = leaving["meters"][0], staying["meters"][0]
    closed = await town.graphql(CLOSE, bearer=token, a=leaving["id"], k="second-shop-leaves")
    assert closed["closeAccount"]["__typename"] == "Closing", closed

    async def is_closed() -> bool | None:
        found = await town.value("SELECT state FROM accounts_closing")
        return True if found == "CLOSED" else None

    await until(is_closed, "the closing")
    held_before, count_before = await town.wallet(second)

    box, _ = town.site.meters[first.meter]
    box.faults.drop_answers = 2  # the line is bad
    answers = [
        await town.graphql(
            REPLACE, bearer=token, m=old_meter["id"], to=new_meter["id"], k="replace-the-first"
        )
        for _ in range(2)
    ]
    assert answers[0]["replaceMeter"]["id"] == answers[1]["replaceMeter"]["id"], answers
    await town.stop_worker(signal.SIGKILL)
    town.start_worker()
    takedown = answers[0]["replaceMeter"]["id"]

    async def done() -> Any:
        node = (await town.graphql(TAKEDOWN, bearer=token, id=takedown))["node"]
        return node if node["state"] == "DONE" else None

    shown = await until(done, "the end of the takedown", within_s=60)
    assert (shown["moved"], shown["used"]) == ("70.00", "0.00"), shown
    await town.vend_state("VERIFIED", count=2)
    assert await town.wallet(second) == (held_before + 7000, count_before + 1)
    assert (await account(first.no))["meters"][0]["serial"] == second.meter
    transfers = "SELECT count(*) FROM control_vend WHERE source = 'TRANSFER'"
    assert await town.value(transfers) == 1
    assert await town.value(transfers, group=town.theirs) == 0
