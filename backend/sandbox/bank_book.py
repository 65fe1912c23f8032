"""The memory of the UnionPay and ChinaPay stand-ins: keys, merchants and trades in SQLite (file or memory).

A payment and its refunds are trades of their own, as at the real gateways.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta

from backend.kernel.clock import CHINA

_TABLES = """
CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, pem TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS merchants (mer_id TEXT PRIMARY KEY, pem TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trades (
    mer_id TEXT, number TEXT, made TEXT, kind TEXT, fen INTEGER, notify_url TEXT, front_url TEXT,
    expires TEXT, original TEXT, state TEXT, serial TEXT, at TEXT, PRIMARY KEY (mer_id, number));
"""
PAY, BACK = "PAY", "BACK"
OPEN, DONE, PENDING = "OPEN", "DONE", "PENDING"


@dataclass(frozen=True, slots=True)
class Trade:
    """A payment or a refund at the stand-in, in fen. `made` and `expires` are yyyyMMddHHmmss of China,
    `original` the number of the payment a refund is of, `serial` the gateway's own number, `at` when it
    was done (yyyyMMddHHmmss, empty while it is not)."""

    mer_id: str
    number: str
    made: str
    kind: str
    fen: int
    notify_url: str
    front_url: str = ""
    expires: str = ""
    original: str = ""
    state: str = OPEN
    serial: str = ""
    at: str = ""

    def too_late(self, now: datetime, /) -> bool:
        """Whether the payer is past the end that the merchant set."""
        return bool(self.expires) and self.expires <= stamp(now)

    def asked(self) -> tuple[object, ...]:
        """What the merchant asked for: the same number again must ask for the same."""
        return self.made, self.kind, self.fen, self.original


class BankBook:
    """One process, one connection, every statement its own commit."""

    def __init__(self, path: str = ":memory:", /) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(_TABLES)

    def keys(self, make: Callable[[], dict[str, str]], /) -> dict[str, str]:
        """The gateway's own keys and certificates (PEM by name), made when the book is new."""
        rows = self._db.execute("SELECT name, pem FROM keys").fetchall()
        if not rows:
            rows = list(make().items())
            self._db.executemany("INSERT INTO keys VALUES (?, ?)", rows)
        return dict(rows)

    def put_merchant(self, *, mer_id: str, pem: str) -> None:
        """Register a merchant by its certificate or public key, or replace it."""
        self._db.execute("INSERT OR REPLACE INTO merchants VALUES (?, ?)", (mer_id, pem))

    def merchant(self, mer_id: str, /) -> str | None:
        """What a merchant signs by, if registered."""
        row = self._db.execute("SELECT pem FROM merchants WHERE mer_id = ?", (mer_id,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, trade: Trade, /) -> None:
        """Store a trade, or its new state."""
        self._db.execute(
            "INSERT OR REPLACE INTO trades VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", astuple(trade)
        )

    def trade(self, *, mer_id: str, number: str) -> Trade | None:
        """One trade of a merchant."""
        row = self._db.execute(
            "SELECT * FROM trades WHERE mer_id = ? AND number = ?", (mer_id, number)
        ).fetchone()
        return None if row is None else Trade(*row)

    def find(self, number: str, /) -> Trade | None:
        """A trade by its number alone, when only one merchant has it (cashier, control)."""
        rows = self._db.execute("SELECT * FROM trades WHERE number = ?", (number,)).fetchall()
        return Trade(*rows[0]) if len(rows) == 1 else None

    def trades(self) -> list[Trade]:
        """All trades, oldest first."""
        return [Trade(*row) for row in self._db.execute("SELECT * FROM trades ORDER BY rowid")]

    def done(self, trade: Trade, /, *, at: datetime) -> Trade:
        """Mark a trade done: a payment paid, a refund given back."""
        serial = trade.serial or f"{trade.made}{secrets.randbelow(10**7):07d}"
        done = replace(trade, state=DONE, serial=serial, at=stamp(at))
        self.put(done)
        return done

    def left(self, payment: Trade, /) -> int:
        """What of a payment was not asked back yet, in fen."""
        back = (
            trade.fen
            for trade in self.trades()
            if (trade.kind, trade.mer_id, trade.original) == (BACK, payment.mer_id, payment.number)
        )
        return payment.fen - sum(back)


def stamp(at: datetime, /) -> str:
    """yyyyMMddHHmmss of China."""
    return f"{at.astimezone(CHINA):%Y%m%d%H%M%S}"


def earlier(stamped: str, by: timedelta, /) -> str:
    """A stamp moved back."""
    return f"{datetime.strptime(stamped, '%Y%m%d%H%M%S').replace(tzinfo=CHINA) - by:%Y%m%d%H%M%S}"
