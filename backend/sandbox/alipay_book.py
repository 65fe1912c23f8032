"""The memory of the Alipay stand-in: apps, trades and refunds in SQLite (file or memory)."""

from __future__ import annotations

import secrets
from dataclasses import astuple, dataclass, replace
from datetime import datetime

from backend.sandbox.alipay_keys import App
from backend.sandbox.platform_book import PlatformBook

_TABLES = """
CREATE TABLE IF NOT EXISTS apps (
    app_id TEXT PRIMARY KEY, seller_id TEXT, public_key_pem TEXT, app_sn TEXT, root_sn TEXT,
    auth_token TEXT);
CREATE TABLE IF NOT EXISTS trades (
    app_id TEXT, out_trade_no TEXT, seller_id TEXT, total INTEGER, subject TEXT, notify_url TEXT,
    return_url TEXT, expires_at TEXT, trade_no TEXT UNIQUE, created_at TEXT, state TEXT, buyer_id TEXT,
    paid_at TEXT, PRIMARY KEY (app_id, out_trade_no));
CREATE TABLE IF NOT EXISTS refunds (
    app_id TEXT, out_request_no TEXT, out_trade_no TEXT, amount INTEGER, done INTEGER, at TEXT,
    PRIMARY KEY (app_id, out_trade_no, out_request_no));
"""


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade; amounts in fen, instants `yyyy-mm-dd hh:mm:ss` in China's time as Alipay tells them."""

    app_id: str
    out_trade_no: str
    seller_id: str
    total: int
    subject: str
    notify_url: str
    return_url: str
    expires_at: str
    trade_no: str
    created_at: str
    state: str = "WAIT_BUYER_PAY"
    buyer_id: str = ""
    paid_at: str = ""

    def expired(self, at: datetime, /) -> bool:
        """Whether the payer is too late (`at` in China's time)."""
        return bool(self.expires_at) and self.expires_at <= told(at)


@dataclass(frozen=True, slots=True)
class TradeRefund:
    """A refund, in fen. Not `done`: it was taken, the money has not moved."""

    app_id: str
    out_request_no: str
    out_trade_no: str
    amount: int
    done: bool
    at: str


class AlipayBook(PlatformBook):
    """Apps, trades and refunds."""

    def __init__(self, path: str = ":memory:", /) -> None:
        super().__init__(path, tables=_TABLES)

    def put_app(self, app: App, /) -> None:
        """Register an app, or replace what is known of it."""
        self._db.execute("INSERT OR REPLACE INTO apps VALUES (?,?,?,?,?,?)", astuple(app))

    def app(self, app_id: str, /) -> App | None:
        """The app, if registered."""
        row = self._db.execute("SELECT * FROM apps WHERE app_id = ?", (app_id,)).fetchone()
        return None if row is None else App(*row)

    def put(self, trade: Trade, /) -> Trade:
        """Store a trade, or its new state."""
        self._db.execute(
            "INSERT OR REPLACE INTO trades VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", astuple(trade)
        )
        return trade

    def trade(self, *, app_id: str, out_trade_no: str) -> Trade | None:
        """One trade of an app."""
        row = self._db.execute(
            "SELECT * FROM trades WHERE app_id = ? AND out_trade_no = ?", (app_id, out_trade_no)
        ).fetchone()
        return None if row is None else Trade(*row)

    def find(self, number: str, /) -> Trade | None:
        """A trade by its own number or the merchant's, when only one app has it (cashier, control)."""
        rows = self._db.execute(
            "SELECT * FROM trades WHERE trade_no = ? OR out_trade_no = ?", (number, number)
        ).fetchall()
        return Trade(*rows[0]) if len(rows) == 1 else None

    def trades(self) -> list[Trade]:
        """All trades, oldest first."""
        return [Trade(*row) for row in self._db.execute("SELECT * FROM trades ORDER BY rowid")]

    def pay(self, trade: Trade, /, *, at: datetime) -> Trade:
        """Mark a trade paid at `at` (China time)."""
        buyer = trade.buyer_id or f"2088{secrets.randbelow(10**12):012d}"
        return self.put(replace(trade, state="TRADE_SUCCESS", buyer_id=buyer, paid_at=told(at)))

    def put_refund(self, refund: TradeRefund, /) -> None:
        """Store a refund, or its new state."""
        self._db.execute("INSERT OR REPLACE INTO refunds VALUES (?,?,?,?,?,?)", astuple(refund))

    def refunds(self, *, app_id: str, out_trade_no: str | None = None) -> list[TradeRefund]:
        """The refunds of an app, or of one trade, oldest first."""
        rows = self._db.execute(
            "SELECT * FROM refunds WHERE app_id = ? AND out_trade_no = coalesce(?, out_trade_no)"
            " ORDER BY rowid",
            (app_id, out_trade_no),
        )
        return [
            TradeRefund(app, number, trade, amount, bool(done), at)
            for app, number, trade, amount, done, at in rows
        ]


def told(at: datetime, /) -> str:
    """An instant (China time) as Alipay writes it."""
    return f"{at:%Y-%m-%d %H:%M:%S}"
