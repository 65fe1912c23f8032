"""Openings that were asked for, by their key: asking again opens nothing twice (A13)."""

from __future__ import annotations

import hashlib
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict


def fingerprint(*parts: object) -> bytes:
    """SHA-256 of what was asked for, so that a key with other content is told apart."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()


async def opened_by(
    work: UnitOfWork, *, project_id: UUID, idempotency_key: str, asked: bytes
) -> UUID | None:
    """The account that was opened with this key, or None. Raises Conflict: something else was asked."""
    row = await work.fetchrow(
        "SELECT account_id, asked FROM accounts_opening"
        " WHERE group_id = $1 AND project_id = $2 AND idempotency_key = $3",
        work.group_id,
        project_id,
        idempotency_key,
    )
    if row is None:
        return None
    if bytes(row["asked"]) != asked:
        raise Conflict("this idempotency key was used for another opening")
    account_id: UUID = row["account_id"]
    return account_id


async def keep_opening(
    work: UnitOfWork, *, project_id: UUID, idempotency_key: str, account_id: UUID, asked: bytes
) -> None:
    """Remember what this key opened. Raises Conflict: it was used at the same moment."""
    kept = await work.execute(
        "INSERT INTO accounts_opening (group_id, project_id, idempotency_key, account_id, asked)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        work.group_id,
        project_id,
        idempotency_key,
        account_id,
        asked,
    )
    if not kept:
        raise Conflict("this idempotency key is being used; ask again")
