"""Ask the four witnesses of a run. Nothing here can write: the book is read by a read-only session."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import asyncpg

from backend.kernel.clock import business_day
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Unavailable
from backend.tenancy import queries as tenancy
from backend.topups.ports import ChannelUnavailable

from .plan import OPENING_FEN, TENANTS
from .town import Town, until
from .verdict import Book, BookVend, Sold

_HAO_PER_FEN = 100
_BILL_WITHIN_S = 20.0
# Waits by design for hours, or belongs to the clock and not to a payment.
_PATIENT = ["topup.query", "sweep.due", "meter.refresh"]
_ORDERS = "SELECT id, order_no, state, amount_fen FROM topups_order"
_VENDS = (
    "SELECT v.source_id, v.purchase_no, v.amount_fen, v.state, m.serial FROM control_vend v"
    " JOIN metering_meter m ON m.group_id = v.group_id AND m.id = v.meter_id"
)
_BALANCES = (
    "SELECT a.kind, sum(p.amount_hao)::bigint AS hao FROM ledger_posting p"
    " JOIN ledger_account a ON a.group_id = p.group_id AND a.id = p.account_id GROUP BY a.kind"
)
_BROKEN = (
    "SELECT (SELECT count(*) FROM (SELECT entry_id FROM ledger_posting GROUP BY entry_id"
    "   HAVING sum(amount_hao) <> 0) e)"
    " + (SELECT count(*) FROM ledger_balance b WHERE b.balance_hao IS DISTINCT FROM"
    "   (SELECT coalesce(sum(p.amount_hao), 0) FROM ledger_posting p"
    "    WHERE p.group_id = b.group_id AND p.account_id = b.account_id))"
)
_EVENTS = (
    "SELECT topic, count(*) AS count FROM outbox_event"
    " WHERE done_at IS NULL AND NOT topic = ANY($1) GROUP BY topic"
)
_CASES = "SELECT kind, count(*) AS count FROM alerts_case WHERE resolved_at IS NULL GROUP BY kind"


@asynccontextmanager
async def read_only(dsn: str, group_id: int) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A session of one group that PostgreSQL lets read and nothing else."""
    settings = {"default_transaction_read_only": "on", "app.group_id": str(group_id)}
    connection: asyncpg.Connection[Any] = await asyncpg.connect(dsn, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


async def read_book(dsn: str, group_ids: Sequence[int]) -> Book:
    """The book of all these groups. Raises OSError or asyncpg's errors while PostgreSQL is away."""
    paid: dict[str, int] = {}
    vends: list[BookVend] = []
    hao: Counter[str] = Counter()
    unfinished: Counter[str] = Counter()
    cases: Counter[str] = Counter()
    broken = 0
    for group_id in group_ids:
        async with read_only(dsn, group_id) as connection:
            orders = await connection.fetch(_ORDERS)
            paid |= {o["order_no"]: o["amount_fen"] for o in orders if o["state"] == "PAID"}
            numbers = {order["id"]: order["order_no"] for order in orders}
            for row in await connection.fetch(_VENDS):
                sold = Sold(row["serial"], row["purchase_no"], row["amount_fen"])
                order_no = numbers.get(row["source_id"], str(row["source_id"]))
                vends.append(BookVend(order_no, sold, row["state"]))
            hao.update({row["kind"]: row["hao"] for row in await connection.fetch(_BALANCES)})
            broken += await connection.fetchval(_BROKEN)
            found = await connection.fetch(_EVENTS, _PATIENT)
            unfinished.update({row["topic"]: row["count"] for row in found})
            cases.update({row["kind"]: row["count"] for row in await connection.fetch(_CASES)})
    channel, wallets = hao.pop("CHANNEL", 0), hao.pop("METER_WALLET", 0)
    return Book(
        paid=paid,
        vends=vends,
        channel_fen=channel // _HAO_PER_FEN,
        wallets_fen=-wallets // _HAO_PER_FEN,
        waiting_fen=sum(abs(left) for left in hao.values()) // _HAO_PER_FEN,
        broken=broken,
        unfinished=unfinished,
        cases=cases,
    )


def read_wallets(store: Path) -> tuple[dict[str, int], list[Sold]]:
    """What each meter's wallet grew by since its start, and the sales it recorded, from its own file."""
    file = sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)
    try:
        memories = file.execute("select serial, state from memory").fetchall()
        sales = file.execute("select serial, purchase_count, amount_fen from sold").fetchall()
    finally:
        file.close()
    held = {serial: json.loads(state)["remaining_hao"] for serial, state in memories}
    grown = {serial: hao // _HAO_PER_FEN - OPENING_FEN for serial, hao in held.items()}
    return grown, [Sold(*sale) for sale in sales]


async def read_bill(town: Town, days: Sequence[date]) -> int:
    """What the channel's bills of these days say was taken, through the product's own adapter, in fen."""
    total = 0
    for code, mchid in sorted({(t.group.code, t.site.mchid) for t in TENANTS}):
        group_id = town.group_ids[code]
        async with unit_of_work(group_id) as work:
            credential = await tenancy.credential_by_key(
                work, box=town.ports.box, kind="WECHAT_PAY", key=mchid
            )
        channel = town.ports.payment_channel(group_id, credential)
        for day in days:

            async def lines(day: date = day, channel: Any = channel) -> Any:
                try:
                    return await channel.bill(day)
                except ChannelUnavailable:
                    return None

            try:
                bill = await until(lines, "a bill", within_s=_BILL_WITHIN_S)
            except Unavailable:
                bill = []  # a day without any trade has no bill before the next morning
            total += sum(line.amount_fen - line.refund_fen for line in bill)
    return total


def paid_by_channel(orders: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Fen by order number of what the channel took, from its own book."""
    return {order["out_trade_no"]: order["total"] for order in orders if order["paid_at"]}


async def wallets(town: Town) -> tuple[dict[str, int], list[Sold]]:
    """See read_wallets."""
    return await asyncio.to_thread(read_wallets, town.meter_store)


def day_of(town: Town) -> date:
    """The channel's day now."""
    return business_day(town.ports.clock.now())
