"""Ask the four witnesses of a run. Nothing here can write: the book is read by a read-only session."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from backend.demo.prices import PRICE_HAO
from backend.kernel.clock import business_day
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Unavailable
from backend.sandbox.answers import NO_ANSWER
from backend.tenancy import queries as tenancy
from backend.topups.ports import ChannelUnavailable

from .book import HAO_PER_FEN, book_of_group, read_only, together
from .plan import CLOUDS, GROUPS, OPENING_FEN
from .tills import TILLS
from .town import Town, until
from .verdict import Book, Sold

_BILL_WITHIN_S = 20.0
# A settlement day of UnionPay ends at 23:00.
_MIDNIGHT, _DAY_ENDS_BEFORE = timedelta(0), {"UNIONPAY": timedelta(hours=1)}
_WH_PER_KWH = 1_000
_IN_CLOUD = frozenset(tenant.home.meter for tenant in CLOUDS)
_READ = (
    "SELECT m.serial, l.total, l.total - s.opening_total AS used FROM metering_meter m"
    " JOIN metering_assignment s ON s.group_id = m.group_id AND s.meter_id = m.id"
    " JOIN metering_latest l ON l.group_id = m.group_id AND l.meter_id = m.id"
    " WHERE m.credit_mode = 'CLOUD'"
)
_CHARGED = (
    "SELECT coalesce(-sum(p.amount_hao), 0)::bigint FROM ledger_posting p JOIN ledger_account a"
    " ON a.group_id = p.group_id AND a.id = p.account_id WHERE a.kind = 'ENERGY'"
)


async def read_book(dsn: str, group_ids: Sequence[int]) -> Book:
    """The book of all these groups. Raises OSError or asyncpg's errors while PostgreSQL is away."""
    parts = []
    for group_id in group_ids:
        async with read_only(dsn, group_id) as connection:
            book = await book_of_group(connection)
            read = await connection.fetch(_READ)
            charged = await connection.fetchval(_CHARGED)
            parts.append(
                replace(
                    book,
                    charged_hao=charged,
                    used_hao=sum(row["used"] for row in read) * PRICE_HAO // _WH_PER_KWH,
                    read_wh={row["serial"]: row["total"] for row in read},
                )
            )
    return together(parts)


def read_wallets(store: Path) -> tuple[dict[str, int], list[Sold]]:
    """What the wallet of each meter that holds money grew by since its start, and the sales it recorded,
    from its own file."""
    file = sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)
    try:
        memories = file.execute("select serial, state from memory").fetchall()
        sales = file.execute("select serial, purchase_count, amount_fen from sold").fetchall()
    finally:
        file.close()
    held = {serial: json.loads(state)["remaining_hao"] for serial, state in memories}
    grown = {
        serial: hao // HAO_PER_FEN - OPENING_FEN
        for serial, hao in held.items()
        if serial not in _IN_CLOUD
    }
    return grown, [Sold(*sale) for sale in sales]


async def wallets(town: Town) -> tuple[dict[str, int], list[Sold]]:
    """See read_wallets."""
    return await asyncio.to_thread(read_wallets, town.meter_store)


async def registers(town: Town) -> dict[str, int]:
    """What the register of each meter shows now whose money is in the cloud, in Wh; of a site that does
    not answer, nothing."""
    try:
        views = (await town.http.get(f"{town.site}/meters")).json()
    except NO_ANSWER:
        return {}
    return {
        view["serial"]: int(Decimal(view["energy"]) * _WH_PER_KWH)
        for view in views
        if view["serial"] in _IN_CLOUD
    }


def read_channels(data: Path) -> tuple[dict[str, int], int]:
    """Fen by order number of what the channels took, and fen that they gave back, from their own books."""
    paid, back = dict[str, int](), 0
    for till in TILLS.values():
        taken, given = till.read(data)
        paid |= taken
        back += given
    return paid, back


async def channels(town: Town) -> tuple[dict[str, int], int]:
    """See read_channels."""
    return await asyncio.to_thread(read_channels, town.data)


async def read_bill(town: Town, since: datetime) -> int:
    """What the channels' bills say was taken since then, through the product's own adapters, in fen."""
    now = town.ports.clock.now()
    asked = [
        _billed(town, code, kind, key, day)
        for code, kind, key in _merchants()
        for day in days_billed(kind, since, now)
    ]
    return sum(await asyncio.gather(*asked))


def days_billed(kind: str, since: datetime, until: datetime) -> list[date]:
    """The days of a channel whose bills tell what was paid from `since` to `until`, which is soon after."""
    early = _DAY_ENDS_BEFORE.get(kind, _MIDNIGHT)
    return sorted({business_day(at + early) for at in (since, until)})


async def _billed(town: Town, code: str, kind: str, key: str, day: date) -> int:
    """What one merchant account's bill says, in fen."""
    group_id = town.group_ids[code]
    async with unit_of_work(group_id) as work:
        credential = await tenancy.credential_by_key(work, box=town.ports.box, kind=kind, key=key)
    channel = town.ports.payment_channel(group_id, credential)

    async def lines() -> Any:
        try:
            return await channel.bill(day)
        except ChannelUnavailable:
            return None

    try:
        bill = await until(lines, "a bill", within_s=_BILL_WITHIN_S)
    except Unavailable:
        bill = []  # a day without any trade has no bill before the next morning
    return sum(line.amount_fen - line.refund_fen for line in bill)


def _merchants() -> Iterator[tuple[str, str, str]]:
    """Group, channel and number of each merchant account."""
    for group in GROUPS:
        for site in group.sites:
            assert site.alipay is not None, "each site has all three"
            yield group.code, "WECHAT_PAY", site.mchid
            yield group.code, "ALIPAY", site.alipay.seller_id
            yield group.code, "UNIONPAY", site.unionpay
