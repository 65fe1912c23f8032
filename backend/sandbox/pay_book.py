"""The memory of the WeChat Pay stand-in: merchants, orders and refunds in SQLite (file or memory)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta

from backend.sandbox.pay_keys import Merchant
from backend.sandbox.platform_book import PlatformBook

_TABLES = """
CREATE TABLE IF NOT EXISTS merchants (
    mchid TEXT PRIMARY KEY, appid TEXT, cert_serial_no TEXT, public_key_pem TEXT, apiv3_key TEXT,
    certificates INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS sub_merchants (
    mchid TEXT, sub_mchid TEXT, sub_appid TEXT, PRIMARY KEY (mchid, sub_mchid));
CREATE TABLE IF NOT EXISTS certificates (key_pem TEXT, pem TEXT);
CREATE TABLE IF NOT EXISTS orders (
    mchid TEXT, out_trade_no TEXT, appid TEXT, kind TEXT, total INTEGER, description TEXT,
    notify_url TEXT, openid TEXT, expires_at TEXT, asked TEXT, prepay_id TEXT UNIQUE,
    state TEXT, transaction_id TEXT, paid_at TEXT, sp_mchid TEXT NOT NULL DEFAULT '',
    sp_appid TEXT NOT NULL DEFAULT '', PRIMARY KEY (mchid, out_trade_no));
CREATE TABLE IF NOT EXISTS refunds (
    mchid TEXT, out_refund_no TEXT, out_trade_no TEXT, refund INTEGER, total INTEGER,
    refund_id TEXT, status TEXT, at TEXT, PRIMARY KEY (mchid, out_refund_no));
"""
# What files of earlier demos lack.
_ADDED = (
    (
        "merchants",
        "certificates",
        "ALTER TABLE merchants ADD COLUMN certificates INTEGER NOT NULL DEFAULT 0",
    ),
    ("orders", "sp_mchid", "ALTER TABLE orders ADD COLUMN sp_mchid TEXT NOT NULL DEFAULT ''"),
    ("orders", "sp_appid", "ALTER TABLE orders ADD COLUMN sp_appid TEXT NOT NULL DEFAULT ''"),
)


@dataclass(frozen=True, slots=True)
class Order:
    """An order at the stand-in; amounts in fen, instants ISO 8601, `asked` the parameters as asked.

    `mchid` is whose money it is and `appid` the payer's app; a service provider's order has its numbers
    in `sp_mchid` and `sp_appid` (and an `appid` only if it was asked under a sub-merchant's app)."""

    mchid: str
    out_trade_no: str
    appid: str
    kind: str
    total: int
    description: str
    notify_url: str
    openid: str
    expires_at: str
    asked: str
    prepay_id: str
    state: str = "NOTPAY"
    transaction_id: str = ""
    paid_at: str = ""
    sp_mchid: str = ""
    sp_appid: str = ""

    def expired(self, at: datetime, /) -> bool:
        """Whether the payer is too late."""
        return bool(self.expires_at) and datetime.fromisoformat(self.expires_at) <= at


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund at the stand-in, in fen."""

    mchid: str
    out_refund_no: str
    out_trade_no: str
    refund: int
    total: int
    refund_id: str
    status: str
    at: str


class PayBook(PlatformBook):
    """Merchants, orders and refunds."""

    def __init__(self, path: str = ":memory:", /) -> None:
        super().__init__(path, tables=_TABLES)
        for table, column, add in _ADDED:
            known = self._db.execute(
                "SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column)
            ).fetchone()
            if known is None:
                self._db.execute(add)

    def put_merchant(self, merchant: Merchant, /) -> None:
        """Register a merchant, or replace what is known of it."""
        self._db.execute("INSERT OR REPLACE INTO merchants VALUES (?,?,?,?,?,?)", astuple(merchant))

    def merchant(self, mchid: str, /) -> Merchant | None:
        """The merchant, if registered."""
        row = self._db.execute("SELECT * FROM merchants WHERE mchid = ?", (mchid,)).fetchone()
        return None if row is None else Merchant(*row)

    def put_sub_merchants(self, mchid: str, subs: Mapping[str, str], /) -> None:
        """For whom a provider collects: sub-merchants with their apps ("": none)."""
        self._db.executemany(
            "INSERT OR REPLACE INTO sub_merchants VALUES (?,?,?)",
            [(mchid, sub, appid) for sub, appid in subs.items()],
        )

    def sub_appid(self, *, mchid: str, sub_mchid: str) -> str | None:
        """The app of a provider's sub-merchant, None when it is not the provider's."""
        row = self._db.execute(
            "SELECT sub_appid FROM sub_merchants WHERE mchid = ? AND sub_mchid = ?",
            (mchid, sub_mchid),
        ).fetchone()
        return None if row is None else str(row[0])

    def put_certificate(self, *, key_pem: str, pem: str) -> None:
        """Keep a platform certificate with its key."""
        self._db.execute("INSERT INTO certificates VALUES (?,?)", (key_pem, pem))

    def drop_certificates(self) -> None:
        """Forget all platform certificates."""
        self._db.execute("DELETE FROM certificates")

    def certificates(self) -> list[tuple[str, str]]:
        """Keys and platform certificates as PEM, oldest first."""
        return list(self._db.execute("SELECT key_pem, pem FROM certificates ORDER BY rowid"))

    def put_order(self, order: Order, /) -> None:
        """Store an order, or its new state."""
        self._db.execute(
            "INSERT OR REPLACE INTO orders VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", astuple(order)
        )

    def order(self, *, mchid: str, out_trade_no: str) -> Order | None:
        """One order of a merchant."""
        row = self._db.execute(
            "SELECT * FROM orders WHERE mchid = ? AND out_trade_no = ?", (mchid, out_trade_no)
        ).fetchone()
        return None if row is None else Order(*row)

    def find(self, reference: str, /) -> Order | None:
        """An order by prepay id or order number, when only one merchant has it (cashier, control)."""
        rows = self._db.execute(
            "SELECT * FROM orders WHERE prepay_id = ? OR out_trade_no = ?", (reference, reference)
        ).fetchall()
        return Order(*rows[0]) if len(rows) == 1 else None

    def orders(self) -> list[Order]:
        """All orders, oldest first."""
        return [Order(*row) for row in self._db.execute("SELECT * FROM orders ORDER BY rowid")]

    def pay(self, order: Order, /, *, openid: str, at: datetime) -> Order:
        """Mark an order paid by `openid` at `at` (China time)."""
        paid = replace(
            order,
            state="SUCCESS",
            openid=order.openid or openid,
            transaction_id=f"42{at:%Y%m%d}{secrets.randbelow(10**18):018d}",
            paid_at=at.isoformat(timespec="seconds"),
        )
        self.put_order(paid)
        return paid

    def put_refund(self, refund: Refund, /) -> None:
        """Store a refund, or its new state."""
        self._db.execute("INSERT OR REPLACE INTO refunds VALUES (?,?,?,?,?,?,?,?)", astuple(refund))

    def refund(self, *, mchid: str, out_refund_no: str) -> Refund | None:
        """One refund of a merchant."""
        row = self._db.execute(
            "SELECT * FROM refunds WHERE mchid = ? AND out_refund_no = ?", (mchid, out_refund_no)
        ).fetchone()
        return None if row is None else Refund(*row)

    def refunds(self, *, mchid: str) -> list[Refund]:
        """The refunds of a merchant, oldest first."""
        rows = self._db.execute("SELECT * FROM refunds WHERE mchid = ? ORDER BY rowid", (mchid,))
        return [Refund(*row) for row in rows]


def default_expiry(at: datetime, /) -> str:
    """When a prepay id without a stated end runs out: two hours."""
    return (at + timedelta(hours=2)).isoformat(timespec="seconds")
