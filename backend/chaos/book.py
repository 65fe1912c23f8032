"""The product's database as a witness: read group by group, whoever asks sees only that group."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from .verdict import Book, BookVend, Sold

HAO_PER_FEN = 100
# Waits by design for hours, or belongs to the clock and not to a payment.
_PATIENT = ["topup.query", "sweep.due", "meter.refresh"]
_ORDERS = (
    "SELECT o.id, o.order_no, o.state, o.amount_fen, o.credential_id IS NULL AS at_desk,"
    " m.credit_mode = 'CLOUD' AS in_purse"
    " FROM topups_order o"
    " JOIN metering_assignment s ON s.group_id = o.group_id AND s.id = o.assignment_id"
    " JOIN metering_meter m ON m.group_id = s.group_id AND m.id = s.meter_id"
)
# A purse whose money goes on to a meter; what stays in it waits.
_SENDS_ON = (
    "EXISTS (SELECT FROM metering_assignment s"
    " JOIN metering_meter m ON m.group_id = s.group_id AND m.id = s.meter_id"
    " WHERE s.group_id = a.group_id AND s.account_id = a.ref AND m.credit_mode = 'METER')"
)
_VENDS = (
    "SELECT v.source_id, v.purchase_no, v.amount_fen, v.state, m.serial FROM control_vend v"
    " JOIN metering_meter m ON m.group_id = v.group_id AND m.id = v.meter_id"
)
_BALANCES = (
    f"SELECT CASE WHEN a.kind = 'PURSE' AND {_SENDS_ON} THEN 'SENDING_PURSE' ELSE a.kind END AS kind,"
    " sum(p.amount_hao)::bigint AS hao FROM ledger_posting p"
    " JOIN ledger_account a ON a.group_id = p.group_id AND a.id = p.account_id GROUP BY 1"
)
_WAITING = ("IN_TRANSIT", "SUSPENSE", "REFUND_DUE")
_BROKEN = (
    "SELECT (SELECT count(*) FROM (SELECT entry_id FROM ledger_posting GROUP BY entry_id"
    "   HAVING sum(amount_hao) <> 0) e)"
    " + (SELECT count(*) FROM ledger_balance b WHERE b.balance_hao IS DISTINCT FROM"
    "   (SELECT coalesce(sum(p.amount_hao), 0) FROM ledger_posting p"
    "    WHERE p.group_id = b.group_id AND p.account_id = b.account_id))"
    " + (SELECT count(*) FROM ledger_account a"
    "   JOIN ledger_balance b ON b.group_id = a.group_id AND b.account_id = a.id"
    f"   WHERE a.kind = 'PURSE' AND NOT {_SENDS_ON} AND -b.balance_hao IS DISTINCT FROM"
    "   (SELECT coalesce(sum(l.amount_hao - l.used_hao), 0) FROM ledger_lot l"
    "    WHERE l.group_id = a.group_id AND l.purse_id = a.id))"
)
# What quiet hours hold until the morning waits by design too (C28).
_EVENTS = (
    "SELECT e.topic, count(*) AS count FROM outbox_event e"
    " WHERE e.done_at IS NULL AND NOT e.topic = ANY($1) AND NOT (e.topic = 'message.send' AND EXISTS ("
    "  SELECT FROM alerts_delivery d WHERE d.group_id = e.group_id"
    "   AND d.id = (e.payload ->> 'delivery_id')::uuid"
    "   AND d.held_until > now() AND d.last_error IS NULL)) GROUP BY e.topic"
)
# That a gateway was silent is no more than true, and over a minute after it is heard again.
_CASES = (
    "SELECT kind, count(*) AS count FROM alerts_case"
    " WHERE resolved_at IS NULL AND kind <> 'GATEWAY_SILENT' GROUP BY kind"
)


@asynccontextmanager
async def read_only(dsn: str, group_id: int) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A session of one group that PostgreSQL lets read and nothing else."""
    settings = {"default_transaction_read_only": "on", "app.group_id": str(group_id)}
    connection: asyncpg.Connection[Any] = await asyncpg.connect(dsn, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


async def book_of_group(asking: asyncpg.Connection[Any]) -> Book:
    """What the book says of the group whose session `asking` is (see read_only)."""
    orders = await asking.fetch(_ORDERS)
    numbers = {order["id"]: order["order_no"] for order in orders}
    found = await asking.fetch(_VENDS)
    vends = [
        BookVend(
            order_no=numbers.get(row["source_id"], str(row["source_id"])),
            sold=Sold(row["serial"], row["purchase_no"], row["amount_fen"]),
            state=row["state"],
        )
        for row in found
        if row["state"] != "VOIDED"
    ]
    hao = {row["kind"]: row["hao"] for row in await asking.fetch(_BALANCES)}
    channel, wallets = hao.pop("CHANNEL", 0), hao.pop("METER_WALLET", 0)
    waiting = [hao.pop(kind, 0) for kind in _WAITING]
    # A corrected top-up goes on to its meter in whole fen: less than one of each may stay behind.
    moved = sum(1 for vend in vends if vend.order_no not in numbers.values())
    waiting.append(max(0, -hao.get("SENDING_PURSE", 0) - moved * (HAO_PER_FEN - 1)))
    # What was on its way to a meter that was taken down first went on with its account's money.
    voided = {numbers.get(row["source_id"]) for row in found if row["state"] == "VOIDED"}
    return Book(
        paid={
            o["order_no"]: o["amount_fen"]
            for o in orders
            if o["state"] == "PAID" and not o["at_desk"]
        },
        in_purse=frozenset(
            o["order_no"] for o in orders if o["in_purse"] or o["order_no"] in voided
        ),
        vends=vends,
        channel_fen=channel // HAO_PER_FEN,
        wallets_fen=-wallets // HAO_PER_FEN,
        waiting_fen=sum(-(-abs(left) // HAO_PER_FEN) for left in waiting),
        kept_fen=-sum(hao.values()) // HAO_PER_FEN,
        broken=await asking.fetchval(_BROKEN),
        unfinished=_counts(await asking.fetch(_EVENTS, _PATIENT), "topic"),
        cases=_counts(await asking.fetch(_CASES), "kind"),
    )


def together(parts: Sequence[Book]) -> Book:
    """One book of several groups'."""
    return Book(
        paid={number: fen for part in parts for number, fen in part.paid.items()},
        in_purse=frozenset(number for part in parts for number in part.in_purse),
        vends=[vend for part in parts for vend in part.vends],
        channel_fen=sum(part.channel_fen for part in parts),
        wallets_fen=sum(part.wallets_fen for part in parts),
        waiting_fen=sum(part.waiting_fen for part in parts),
        kept_fen=sum(part.kept_fen for part in parts),
        charged_hao=sum(part.charged_hao for part in parts),
        used_hao=sum(part.used_hao for part in parts),
        read_wh={meter: wh for part in parts for meter, wh in part.read_wh.items()},
        broken=sum(part.broken for part in parts),
        unfinished=_sum(part.unfinished for part in parts),
        cases=_sum(part.cases for part in parts),
    )


def _counts(rows: Sequence[Any], name: str) -> dict[str, int]:
    return {row[name]: row["count"] for row in rows}


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total
