"""A process of its own that books money at the same moment as others like it: what it did, as one JSON line.

`python -m tests.integration.money_child DSN` says that it is ready, and begins at the line that it is sent.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any
from uuid import UUID

from backend.journeys.correction import correct_topup
from backend.journeys.notice import from_body, store_notice
from backend.journeys.refund import request_refund
from backend.journeys.settle import settle
from backend.kernel.clock import SetClock
from backend.kernel.db import Database
from backend.kernel.errors import Conflict
from backend.kernel.money import Money
from backend.kernel.secrets import SecretBox
from workers.models import meter_models

from .world import START, admin_scope, ports_at


async def hear_notices(group_id: int, copies: int, body: dict[str, Any], seal: str) -> Counter[str]:
    """Keep and settle so many copies of one notice at once; how many were kept, and each verdict."""
    box = SecretBox({1: bytes.fromhex(seal)})
    ports = replace(ports_at(SetClock(START)), box=box)
    payment, credential_id = from_body(body)
    done: Counter[str] = Counter()

    async def hear() -> None:
        kept = await store_notice(
            ports,
            group_id=group_id,
            channel="WECHAT_PAY",
            credential_id=credential_id,
            key="the-notice",
            payment=payment,
        )
        settled = await settle(
            ports,
            group_id=group_id,
            credential_id=credential_id,
            payment=payment,
            source="notice",
        )
        done.update(["KEPT"] * kept + [str(settled.verdict)])

    await asyncio.gather(*(hear() for _ in range(copies)))
    return done


async def give_back_and_move(
    group_id: int, orders: list[str], accounts: list[str], fen: int
) -> Counter[str]:
    """Refund `fen` of each order once, and move each to one of the accounts, all at once; what was done."""
    scope = admin_scope(group_id)
    done: Counter[str] = Counter()

    async def noted(name: str, action: Awaitable[object]) -> None:
        try:
            await action
        except Conflict:
            name = f"no {name}"
        done.update([name])

    def refund(order: str) -> Awaitable[object]:
        return request_refund(
            scope=scope,
            order_id=UUID(order),
            amount=Money.of_fen(fen),
            reason="moved out",
            idempotency_key=secrets.token_hex(8),
            models=meter_models(),
            at=START,
        )

    def move(order: str, to: str) -> Awaitable[object]:
        return correct_topup(
            scope=scope,
            order_id=UUID(order),
            account_id=UUID(to),
            reason="wrong room",
            models=meter_models(),
            at=START,
        )

    tasks = [noted("refund", refund(order)) for order in orders]
    tasks += [noted("move", move(order, secrets.choice(accounts))) for order in orders]
    await asyncio.gather(*tasks)
    return done


async def main(dsn: str) -> None:
    """Wait for the word, do it, tell."""
    await Database.open(dsn, pool_max=8)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    said = json.loads(await asyncio.to_thread(sys.stdin.readline))
    work = {"notices": hear_notices, "refunds": give_back_and_move}[said.pop("do")]
    sys.stdout.write(json.dumps(await work(**said)) + "\n")  # type: ignore[operator] # two signatures
    await Database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
