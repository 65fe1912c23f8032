"""An operator switches a tenant off and on again: from the console to the relay and back."""

from __future__ import annotations

from typing import Any

from .town import Town, until

LOGIN = (
    "mutation($l: String!, $p: String!) {"
    " login(login: $l, password: $p) { __typename ... on SignedIn { token } } }"
)
METER = (
    "query($no: String!) { account(no: $no) { meters { id latest { relay }"
    " commands(first: 1) { id state relayBefore relayAfter outcome } } } }"
)
TELL = (
    "mutation($m: ID!, $k: CommandKind!, $p: [BandPriceInput!]) { commandMeter(meter: $m, kind: $k,"
    ' reason: "欠租，已通知", prices: $p) { __typename ... on Command { id state }'
    " ... on Problem { message } } }"
)


async def test_an_operator_trips_a_meter_and_gives_it_back_and_the_meter_itself_says_so(
    town: Town,
) -> None:
    login = f"admin@{town.ours.code}"
    answer = await town.graphql(LOGIN, l=login, p=town.secrets.passwords[login])
    token = answer["login"]["token"]

    async def meter() -> Any:
        account = await town.graphql(METER, bearer=token, no=town.shop.no)
        return account["account"]["meters"][0]

    async def tell(kind: str, **more: Any) -> Any:
        at = (await meter())["id"]
        told = (await town.graphql(TELL, bearer=token, m=at, k=kind, **more))["commandMeter"]
        assert (told["__typename"], told["state"]) == ("Command", "QUEUED"), told

        async def finished() -> Any:
            shown = await meter()
            newest = shown["commands"][0]
            assert newest["id"] == told["id"]
            return shown if newest["state"] not in ("QUEUED", "SENT") else None

        shown = await until(finished, f"the end of {kind}")
        assert shown["commands"][0]["state"] == "VERIFIED", shown
        return shown

    box, _ = town.site.meters[town.shop.meter]
    box.faults.drop_write_answers = 1  # its answer is lost: the read-back tells
    off = await tell("TRIP")
    assert (off["latest"]["relay"], box.state().closed) == ("OFF", False)
    assert (off["commands"][0]["relayBefore"], off["commands"][0]["relayAfter"]) == ("ON", "OFF")
    back = await tell("RELEASE")
    assert (back["latest"]["relay"], box.state().closed) == ("ON", True)
    await tell("PRICES", p=[{"band": "peak", "price": "0.8888"}])
    assert box.state().settings.prices[1] == 8_888

    audited = "SELECT count(*) FROM audit_entry WHERE action LIKE 'meter:command:%'"
    assert await town.value(audited) == 6
    assert await town.value(audited, group=town.theirs) == 0
    assert all(home.state().closed for home, _ in town.site.meters.values())
