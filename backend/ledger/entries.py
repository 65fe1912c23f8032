"""Entries of the book: accounts on first sight, postings by one statement, a key once (C1).

Balances are kept by the database itself, by the statement that posts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

import asyncpg

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict
from backend.kernel.ids import uuid7

from .rules import AccountKey, AccountKind, Overdrawn, Transfer

_IDS = (
    "SELECT a.kind, a.ref, a.id FROM unnest($3::text[], $4::uuid[]) AS k(kind, ref)"
    " JOIN ledger_account a ON a.group_id = $1 AND a.project_id = $2"
    "  AND a.kind = k.kind AND a.ref = k.ref"
)
_POSTINGS = (
    "INSERT INTO ledger_posting (group_id, project_id, entry_id, line, account_id, amount_hao)"
)
# Many entries with their postings, but for those whose key is there already; which ones are new.
_POST_ALL = (
    "WITH made AS (INSERT INTO ledger_entry"
    "   (group_id, id, project_id, business_key, kind, lines, occurred_at)"
    "   SELECT $1, e.id, $2, e.business_key, e.kind, e.lines, $3"
    "   FROM unnest($4::uuid[], $5::text[], $6::text[], $7::integer[])"
    "    AS e(id, business_key, kind, lines)"
    "   ON CONFLICT (group_id, business_key) DO NOTHING RETURNING id),"
    f" lines AS ({_POSTINGS} SELECT $1, $2, p.*"
    "   FROM unnest($8::uuid[], $9::integer[], $10::uuid[], $11::bigint[])"
    "    AS p(entry_id, line, account_id, amount_hao)"
    # IS TRUE: looked up by hash; as a join the planner, who knows no numbers, compares all with all.
    "   WHERE (p.entry_id IN (SELECT id FROM made)) IS TRUE)"
    " SELECT id FROM made"
)
# The postings of one entry, in the order of its lines.
_OF_ONE = (
    f"{_POSTINGS} SELECT $1, $2, $3, p.line, p.account_id, p.amount_hao"
    " FROM unnest($4::uuid[], $5::bigint[]) WITH ORDINALITY AS p(account_id, amount_hao, line)"
)


async def account_ids(
    work: UnitOfWork, *, project_id: UUID, keys: Sequence[AccountKey], at: datetime
) -> dict[AccountKey, UUID]:
    """The ids of a project's ledger accounts, each made on first sight: one statement for all, and none
    for those that this transaction has met."""
    known: dict[tuple[UUID, AccountKey], UUID] = work.memo.setdefault("ledger accounts", {})
    found = {key: known[project_id, key] for key in keys if (project_id, key) in known}
    wanted = dict.fromkeys(key for key in keys if key not in found)
    if wanted:
        found |= await _found_or_made(work, project_id, wanted, at)
        known.update({(project_id, key): id_ for key, id_ in found.items()})
    return found


async def _found_or_made(
    work: UnitOfWork, project_id: UUID, wanted: dict[AccountKey, None], at: datetime
) -> dict[AccountKey, UUID]:
    found = await _ids(work, project_id, wanted)
    missing = [key for key in wanted if key not in found]
    if missing:
        await work.execute(
            "INSERT INTO ledger_account (group_id, id, project_id, kind, ref)"
            " SELECT $1, k.id, $2, k.kind, k.ref"
            " FROM unnest($3::uuid[], $4::text[], $5::uuid[]) AS k(id, kind, ref)"
            " ORDER BY k.ref, k.kind ON CONFLICT DO NOTHING",
            work.group_id,
            project_id,
            [uuid7(at) for _ in missing],
            [str(key.kind) for key in missing],
            [key.ref for key in missing],
        )
        found |= await _ids(work, project_id, missing)
    return found


async def _ids(
    work: UnitOfWork, project_id: UUID, keys: Sequence[AccountKey] | dict[AccountKey, None]
) -> dict[AccountKey, UUID]:
    kinds, refs = [str(key.kind) for key in keys], [key.ref for key in keys]
    rows = await work.fetch(_IDS, work.group_id, project_id, kinds, refs)
    return {AccountKey(AccountKind(row["kind"]), row["ref"]): row["id"] for row in rows}


async def post(work: UnitOfWork, *, project_id: UUID, transfer: Transfer, at: datetime) -> bool:
    """Write a balanced entry into a project's book; False when its key was posted before.

    Raises Conflict when the key was posted with other lines, Overdrawn when a kept balance would
    turn over. The database checks the sum again.
    """
    return bool(await post_all(work, project_id=project_id, transfers=[transfer], at=at))


async def post_all(
    work: UnitOfWork, *, project_id: UUID, transfers: Sequence[Transfer], at: datetime
) -> int:
    """As `post` for many entries, whose postings arrive together; how many are new.

    What one of them puts into a purse another may take out: balances move once, by their sum.
    """
    if not transfers:
        return 0
    keys = [posting.account for transfer in transfers for posting in transfer.postings]
    ids = await account_ids(work, project_id=project_id, keys=keys, at=at)
    if len({transfer.business_key for transfer in transfers}) < len(transfers):
        raise ValueError("entries that are posted together have keys of their own")
    entries = [(uuid7(at), transfer) for transfer in transfers]
    lines = [
        (entry_id, line, ids[posting.account], posting.amount.hao)
        for entry_id, transfer in entries
        for line, posting in enumerate(transfer.postings, 1)
    ]
    with _overdrawn("what is posted"):
        made = await work.fetch(
            _POST_ALL,
            work.group_id,
            project_id,
            at,
            [entry_id for entry_id, _ in entries],
            [transfer.business_key for transfer in transfers],
            [transfer.kind for transfer in transfers],
            [len(transfer.postings) for transfer in transfers],
            *zip(*lines, strict=True),
        )
    new = {row["id"] for row in made}
    for entry_id, transfer in entries:
        if entry_id not in new:
            accounts = [ids[posting.account] for posting in transfer.postings]
            amounts = [posting.amount.hao for posting in transfer.postings]
            await _same_or_conflict(work, project_id, transfer.business_key, accounts, amounts)
    return len(new)


async def write_entry(
    work: UnitOfWork,
    *,
    project_id: UUID,
    business_key: str,
    kind: str,
    accounts: Sequence[UUID],
    amounts: Sequence[int],
    at: datetime,
) -> UUID | None:
    """Write an entry of as many lines as there are `accounts` (ledger account ids), `amounts` in hao,
    debit positive; None when the key was posted before. Raises Overdrawn."""
    entry_id = uuid7(at)
    created = await work.execute(
        "INSERT INTO ledger_entry"
        " (group_id, id, project_id, business_key, kind, lines, occurred_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (group_id, business_key) DO NOTHING",
        work.group_id,
        entry_id,
        project_id,
        business_key,
        kind,
        len(accounts),
        at,
    )
    if not created:
        return None
    with _overdrawn(business_key):
        await work.execute(_OF_ONE, work.group_id, project_id, entry_id, accounts, amounts)
    return entry_id


@contextmanager
def _overdrawn(what: str) -> Iterator[None]:
    """The database's word that a kept balance would turn over, as Overdrawn."""
    try:
        yield
    except asyncpg.CheckViolationError as error:
        if error.constraint_name != "ledger_balance_not_overdrawn":
            raise
        raise Overdrawn(f"{what} would take more than is there") from error


async def _same_or_conflict(
    work: UnitOfWork,
    project_id: UUID,
    business_key: str,
    accounts: Sequence[UUID],
    amounts: Sequence[int],
) -> None:
    rows = await work.fetch(
        "SELECT p.account_id, p.amount_hao FROM ledger_entry e"
        " JOIN ledger_posting p ON p.group_id = e.group_id AND p.entry_id = e.id"
        " WHERE e.group_id = $1 AND e.business_key = $2 AND e.project_id = $3 ORDER BY p.line",
        work.group_id,
        business_key,
        project_id,
    )
    if [(r["account_id"], r["amount_hao"]) for r in rows] != list(
        zip(accounts, amounts, strict=True)
    ):
        raise Conflict(f"the ledger key {business_key} was posted with other lines")
