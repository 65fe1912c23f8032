"""Statements as rows: one a project and day, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork

from .statement_rules import Signed


@dataclass(frozen=True, slots=True)
class Statement:
    """日结单: the signed statement of a project's business day."""

    project_id: UUID
    day: date
    signed: Signed
    previous: bytes | None
    made_at: datetime


def statement_of(row: Row) -> Statement:
    """A statement from its table row."""
    signed = Signed(row["body"], row["hash"], row["key_name"], row["signature"])
    return Statement(row["project_id"], row["day"], signed, row["previous"], row["made_at"])


async def statement_of_day(work: UnitOfWork, *, project_id: UUID, day: date) -> Statement | None:
    """The statement of a day, or None."""
    row = await work.fetchrow(
        "SELECT * FROM reconcile_statement WHERE group_id = $1 AND project_id = $2 AND day = $3",
        work.group_id,
        project_id,
        day,
    )
    return None if row is None else statement_of(row)


async def last_statement(work: UnitOfWork, *, project_id: UUID) -> Statement | None:
    """The newest statement of a project, or None."""
    row = await work.fetchrow(
        "SELECT * FROM reconcile_statement WHERE group_id = $1 AND project_id = $2"
        " ORDER BY day DESC LIMIT 1",
        work.group_id,
        project_id,
    )
    return None if row is None else statement_of(row)


async def add_statement(work: UnitOfWork, *, statement: Statement) -> bool:
    """Keep a statement; False when its day has one."""
    return bool(
        await work.execute(
            "INSERT INTO reconcile_statement (group_id, project_id, day, body, hash, previous,"
            " key_name, signature, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
            " ON CONFLICT DO NOTHING",
            work.group_id,
            statement.project_id,
            statement.day,
            statement.signed.body,
            statement.signed.hash,
            statement.previous,
            statement.signed.key_name,
            statement.signed.signature,
            statement.made_at,
        )
    )
