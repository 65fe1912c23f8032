"""Ask the four witnesses of a run. Nothing here can write: the book is read by a read-only session."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from backend.kernel.clock import business_day
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Unavailable
from backend.tenancy import queries as tenancy
from backend.topups.ports import ChannelUnavailable

from .book import HAO_PER_FEN, book_of_group, read_only, together
from .plan import OPENING_FEN, TENANTS
from .town import Town, until
from .verdict import Book, Sold

_BILL_WITHIN_S = 20.0


async def read_book(dsn: str, group_ids: Sequence[int]) -> Book:
    """The book of all these groups. Raises OSError or asyncpg's errors while PostgreSQL is away."""
    parts = []
    for group_id in group_ids:
        async with read_only(dsn, group_id) as connection:
            parts.append(await book_of_group(connection))
    return together(parts)


def read_wallets(store: Path) -> tuple[dict[str, int], list[Sold]]:
    """What each meter's wallet grew by since its start, and the sales it recorded, from its own file."""
    file = sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)
    try:
        memories = file.execute("select serial, state from memory").fetchall()
        sales = file.execute("select serial, purchase_count, amount_fen from sold").fetchall()
    finally:
        file.close()
    held = {serial: json.loads(state)["remaining_hao"] for serial, state in memories}
    grown = {serial: hao // HAO_PER_FEN - OPENING_FEN for serial, hao in held.items()}
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
