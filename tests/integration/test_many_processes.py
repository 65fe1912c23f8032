"""Several processes at the same money at the same moment: credited once, never overspent (C1, C4, C5)."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence

from backend.journeys.notice import settle_notice, to_body
from backend.kernel.db import unit_of_work
from backend.ledger.queries import owed
from backend.ledger.rules import AccountKind
from backend.sandbox.embedded.services import EmbeddedServices
from backend.topups.rules import Verdict

from .refunding import allow_alone, cloud_order
from .test_ledger import expect_kept_is_derived
from .test_settle import NOTHING, ONE_SALE, effects
from .world import SEAL, World, make_account, make_credential, make_order, payment_of


async def at_once(services: EmbeddedServices, words: Sequence[dict[str, object]]) -> Counter[str]:
    """A process for each of `words`; all are told to begin when the last one is ready. What all did."""
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.money_child",
            services.app_dsn(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in words
    ]
    for child in children:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"ready\n"
    for child, said in zip(children, words, strict=True):
        assert child.stdin is not None
        child.stdin.write(json.dumps(said).encode() + b"\n")
    done: Counter[str] = Counter()
    for child in children:
        told, _ = await child.communicate()
        done.update(json.loads(told))
    return done


async def test_fifty_copies_of_one_notice_over_three_processes_credit_once(
    worlds: tuple[World, World], services: EmbeddedServices, database: EmbeddedServices
) -> None:
    ours, theirs = worlds
    credential_id = await make_credential(ours)
    order = await make_order(ours, credential_id=credential_id)
    body = to_body(payment_of(ours, order), credential_id=credential_id)
    said = {"do": "notices", "group_id": ours.group_id, "body": body, "seal": SEAL.hex()}
    done = await at_once(services, [said | {"copies": copies} for copies in (17, 17, 16)])
    assert done == {"KEPT": 1, "SETTLE": 1, "ALREADY": 49}
    assert await effects(ours) == ONE_SALE
    assert await effects(theirs) == NOTHING
    async with unit_of_work(ours.group_id) as work:
        inbox_id = await work.fetchval("SELECT id FROM outbox_inbox")
    settled = await settle_notice(ours.ports, group_id=ours.group_id, inbox_id=inbox_id)
    assert settled.verdict is Verdict.ALREADY
    assert await effects(ours) == ONE_SALE
    await expect_kept_is_derived(ours)


async def test_a_hundred_refunds_and_a_hundred_moves_of_three_processes_never_overspend(
    worlds: tuple[World, World], services: EmbeddedServices, database: EmbeddedServices
) -> None:
    """Five orders of ten yuan, twenty refunds of 1.10 of each: nine fit, wherever its money is moved."""
    world, theirs = worlds
    await allow_alone(world, fen=10**6)
    right = await make_account(world, no="100002")
    orders = [str((await cloud_order(world, fen=1000)).id) for _ in range(5)]
    accounts = [str(world.account.id), str(right.id)]
    said: dict[str, object] = {
        "do": "refunds",
        "group_id": world.group_id,
        "accounts": accounts,
        "fen": 110,
    }
    done = await at_once(services, [said | {"orders": orders * times} for times in (7, 7, 6)])
    assert (done["refund"], done["no refund"]) == (45, 55)
    assert done["move"] + done["no move"] == 100
    assert done["move"] > 0
    async with unit_of_work(world.group_id) as work:
        refs = [world.account.id, right.id]
        purses = await owed(work, kind=AccountKind.PURSE, refs=refs)
        due = await owed(work, kind=AccountKind.REFUND_DUE, refs=refs)
        lots = await work.fetchval("SELECT sum(amount_hao - used_hao)::bigint FROM ledger_lot")
    assert sum(money.fen for money in due.values()) == 45 * 110
    assert sum(money.fen for money in purses.values()) == 5 * 1000 - 45 * 110
    assert lots == sum(money.hao for money in purses.values())
    await expect_kept_is_derived(world)
    assert await effects(theirs) == NOTHING
