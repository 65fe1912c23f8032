"""Operators of a chaos run: they give money back, two of them where it is much, and have meters read."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from backend.kernel.errors import Unavailable
from backend.kernel.money import Money

from .plan import CLOUDS, Tenant
from .town import Town

_ANSWER_WITHIN_S = 60.0
_AGAIN_S = 0.2
_PART = 3  # a third goes back, so that what was used is not asked back as well
_LOGIN = (
    "mutation($l: String!, $p: String!) {"
    " login(login: $l, password: $p) { __typename ... on SignedIn { token } } }"
)
_ACCOUNT = (
    "query($no: String!) { account(no: $no) { meters { id }"
    " topUps(first: 20) { edges { node { id amount money } } } } }"
)
_REFUND = (
    "mutation($t: ID!, $a: Money!, $k: String!) {"
    ' requestRefund(topUp: $t, amount: $a, reason: "moved out", idempotencyKey: $k) {'
    " __typename ... on Refund { id needsSecond state } ... on Problem { code message } } }"
)
_AGREE = (
    "mutation($r: ID!) { approveRefund(refund: $r) {"
    " __typename ... on Refund { state } ... on Problem { code message } } }"
)
_LOOK = "mutation($m: ID!) { refreshMeter(id: $m) { __typename ... on Problem { code message } } }"
_SECOND = "REQUESTED"


class Office:
    """`refunds` counts those that were asked for and agreed to, `refused` what was refused, by its code."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._tokens: dict[str, str] = {}
        self._given: set[str] = set()
        self.refunds = 0
        self.refused: Counter[str] = Counter()

    async def give_back(self, no: str) -> None:
        """Give back a third of the newest payment of this account of which nothing was given back yet, or
        else of another's. Raises Unavailable when the system does not answer within a minute."""
        for tenant in sorted(CLOUDS, key=lambda each: each.home.no != no):
            account = (await self._ask(_admin(tenant), _ACCOUNT, {"no": tenant.home.no}))["account"]
            for order in [edge["node"] for edge in account["topUps"]["edges"]]:
                if order["money"] == "PAID" and order["id"] not in self._given:
                    await self._give_back(tenant, order)
                    return
        self.refused["NOTHING_PAID"] += 1

    async def _give_back(self, tenant: Tenant, order: Mapping[str, str]) -> None:
        self._given.add(order["id"])
        part = Money.of_fen(Money.parse(order["amount"]).fen // _PART)
        wanted = {"t": order["id"], "a": str(part), "k": f"refund-{len(self._given):05d}"}
        refund = (await self._ask(_admin(tenant), _REFUND, wanted))["requestRefund"]
        if "code" in refund:
            self.refused[refund["code"]] += 1
            return
        self.refunds += 1
        if refund["needsSecond"] and refund["state"] == _SECOND:
            second = f"{tenant.site.code}@{tenant.group.code}"
            agreed = (await self._ask(second, _AGREE, {"r": refund["id"]}))["approveRefund"]
            if "code" in agreed:  # the first try was heard, its answer was not
                self.refused[f"SECOND_{agreed['code']}"] += 1

    async def look(self, no: str) -> None:
        """Have the meter of an account read now. Raises Unavailable."""
        who = _admin(next(tenant for tenant in CLOUDS if tenant.home.no == no))
        account = (await self._ask(who, _ACCOUNT, {"no": no}))["account"]
        for meter in account["meters"]:
            await self._ask(who, _LOOK, {"m": meter["id"]})

    async def _ask(self, who: str, query: str, variables: Mapping[str, object]) -> dict[str, Any]:
        """One answer to an operator, who tries again until there is one. Raises Unavailable."""
        for _ in range(int(_ANSWER_WITHIN_S / _AGAIN_S)):
            token = self._tokens.get(who) or await self._sign_in(who)
            if token and (told := await self._town.graphql(query, variables, token=token)):
                return told
            await asyncio.sleep(_AGAIN_S)
        raise Unavailable(f"{who} had no answer within a minute")

    async def _sign_in(self, who: str) -> str:
        told = await self._town.graphql(_LOGIN, {"l": who, "p": self._town.passwords[who]})
        self._tokens[who] = str(told["login"].get("token", "")) if told else ""
        return self._tokens[who]


def _admin(tenant: Tenant) -> str:
    return f"admin@{tenant.group.code}"
