"""Charge many purses by one entry, and recover what stands in arrears (C4, C7, C13).

Set-based: a statement for each kind of row, however many purses. A purse pays what it can out of its lots,
grants first; the rest of a charge stands in arrears by line, for use that happened is never dropped. What
a correction gives back lowers arrears first and then returns to lots, the last used first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.ids import uuid7
from backend.kernel.money import ZERO, Money

from .entries import account_ids, write_entry
from .operations import hold, take_lots, use_lots
from .queries import entry_of_key
from .rules import (
    ARREARS,
    ARREARS_OF,
    LINES,
    AccountKey,
    AccountKind,
    LotUse,
    recovered_lines,
    unpaid_lines,
)

# Purses taken turns on, and what their lots pay of what each wants (C4).
_DRAW = "SELECT place, purse_id, lot_id, amount_hao FROM ledger_draw($1, $2, $3, $4)"
# The other way round: what returns to which lot, the last used first, and of each no more than charges took
# of it: what was refunded, moved on or ended with its month is not the charges' to give back.
_GIVE_BACK = (
    "SELECT lot_id, purse_id, least(charged, wanted - before) AS amount_hao FROM ("
    " SELECT l.id AS lot_id, l.purse_id, w.wanted, c.charged,"
    "  coalesce(sum(c.charged) OVER (PARTITION BY l.purse_id"
    "   ORDER BY l.kind = 'GRANT', l.created_at DESC, l.id DESC"
    "   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint AS before"
    " FROM unnest($2::uuid[], $3::bigint[]) AS w(purse_id, wanted)"
    " JOIN ledger_lot l ON l.group_id = $1 AND l.purse_id = w.purse_id AND l.used_hao > 0"
    " CROSS JOIN LATERAL (SELECT (coalesce((SELECT sum(u.amount_hao) FROM ledger_lot_use u"
    "   JOIN ledger_entry e ON e.group_id = u.group_id AND e.id = u.entry_id"
    "   WHERE u.group_id = $1 AND u.lot_id = l.id AND e.kind IN ('CHARGE', 'ARREARS_RECOVERED')), 0)"
    "  - coalesce((SELECT sum(r.amount_hao) FROM ledger_lot_return r"
    "   JOIN ledger_entry e ON e.group_id = r.group_id AND e.id = r.entry_id"
    "   WHERE r.group_id = $1 AND r.lot_id = l.id AND e.kind = 'CHARGE'), 0))::bigint AS charged) AS c"
    " WHERE c.charged > 0) AS lots WHERE before < wanted"
)


class PurseCharge(NamedTuple):
    """What a purse (its ref) is charged, in hao in the order of LINES; a correction may be negative."""

    purse: UUID
    amounts: Sequence[int]

    @classmethod
    def of(cls, purse: UUID, lines: Mapping[AccountKind, int]) -> PurseCharge:
        """The charge of a purse by some of LINES."""
        return cls(purse, [lines.get(line, 0) for line in LINES])


class _Batch:
    """Postings and lot uses of one entry as they are put together, in hao."""

    def __init__(self) -> None:
        self.purses: list[UUID] = []
        self.paid: list[int] = []  # by each of the purses
        self.arrears: list[tuple[AccountKey, int]] = []
        self.lots: list[UUID] = []
        self.taken: list[int] = []
        self.returns: list[LotUse] = []
        self.extra: list[tuple[UUID, int]] = []  # given back to a purse beyond what its lots gave


async def charge(
    work: UnitOfWork,
    *,
    project_id: UUID,
    business_key: str,
    charges: Sequence[PurseCharge],
    at: datetime,
) -> UUID | None:
    """Charge purses of a project by one entry, each purse named once; the entry, or None when all of it
    comes to nothing. A key that was posted before is posted once and its entry answered.
    """
    wants = [sum(each.amounts) for each in charges]
    drawn = await _draw(work, project_id, charges, wants, at)
    posted = await entry_of_key(work, business_key=business_key)
    if posted is not None:
        return posted
    batch = _Batch()
    back = _pay(batch, charges, wants, drawn)
    await _pay_back(work, batch, project_id, back, at)
    of_lines = zip(*(each.amounts for each in charges), strict=True)
    income = [
        (AccountKey(line, project_id), -amount)
        for line, amount in zip(LINES, map(sum, of_lines), strict=False)
        if amount
    ]
    more = batch.arrears + income
    if not batch.purses and not more:
        return None
    keys = [key for key, _ in more]
    ids = await account_ids(work, project_id=project_id, keys=keys, at=at)
    entry_id = await write_entry(
        work,
        project_id=project_id,
        business_key=business_key,
        kind="CHARGE",
        accounts=batch.purses + [ids[key] for key in keys],
        amounts=batch.paid + [amount for _, amount in more],
        at=at,
    )
    assert entry_id is not None, "the key was looked for while the purses were held"
    await _move_lots(work, entry_id, batch, at)
    return entry_id


async def _draw(
    work: UnitOfWork,
    project_id: UUID,
    charges: Sequence[PurseCharge],
    wants: Sequence[int],
    at: datetime,
) -> list[Row]:
    """Purses that are charged, held until commit, with what their lots pay: rows of ledger_draw."""
    refs = [each.purse for each in charges]
    rows = await work.fetch(_DRAW, work.group_id, project_id, refs, wants)
    if refs and not rows:  # some have no purse yet
        keys = [AccountKey(AccountKind.PURSE, ref) for ref in refs]
        await account_ids(work, project_id=project_id, keys=keys, at=at)
        rows = await work.fetch(_DRAW, work.group_id, project_id, refs, wants)
    return rows


def _pay(
    batch: _Batch, charges: Sequence[PurseCharge], wants: Sequence[int], drawn: Sequence[Row]
) -> dict[UUID, tuple[UUID, int]]:
    """What purses pay out of their lots; what they cannot pay stands in arrears by line. Gives what is to be
    given back instead: by ledger account, the purse and how much."""
    paid = [0] * len(charges)
    purse_ids: list[UUID | None] = [None] * len(charges)
    for place, purse_id, lot_id, amount in drawn:
        purse_ids[place - 1] = purse_id
        if lot_id is not None:
            paid[place - 1] += amount
            batch.lots.append(lot_id)
            batch.taken.append(amount)
    back: dict[UUID, tuple[UUID, int]] = {}
    for each, wanted, purse, covered in zip(charges, wants, purse_ids, paid, strict=True):
        assert purse is not None, "every purse was made and held"
        if wanted < 0:
            back[purse] = each.purse, -wanted
            continue
        if covered:
            batch.purses.append(purse)
            batch.paid.append(covered)
        if covered < wanted:
            owing = unpaid_lines(dict(zip(LINES, each.amounts, strict=True)), covered)
            for line, amount in owing.items():
                batch.arrears.append((AccountKey(ARREARS_OF[line], each.purse), amount))
    return back


async def _pay_back(
    work: UnitOfWork,
    batch: _Batch,
    project_id: UUID,
    back: Mapping[UUID, tuple[UUID, int]],
    at: datetime,
) -> None:
    """What corrections give back: to arrears first, then to the purse and its lots."""
    if not back:
        return
    standing = await _arrears(work, project_id, [purse for purse, _ in back.values()], at)
    left: dict[UUID, int] = {}
    for purse_id, (purse, amount) in back.items():
        paid = recovered_lines(standing[purse], amount)
        for line, part in paid.items():
            batch.arrears.append((AccountKey(ARREARS_OF[line], purse), -part))
        left[purse_id] = amount - sum(paid.values())
    wanted = {purse_id: amount for purse_id, amount in left.items() if amount}
    rows = await work.fetch(_GIVE_BACK, work.group_id, list(wanted), list(wanted.values()))
    for lot_id, purse_id, amount in rows:
        left[purse_id] -= amount
        batch.returns.append(LotUse(lot_id, Money(amount)))
    batch.purses += wanted
    batch.paid += [-amount for amount in wanted.values()]
    batch.extra += [(purse_id, amount) for purse_id, amount in left.items() if amount]


async def _move_lots(work: UnitOfWork, entry_id: UUID, batch: _Batch, at: datetime) -> None:
    if batch.lots:
        await take_lots(work, entry_id=entry_id, lots=batch.lots, amounts=batch.taken)
    if batch.returns:
        await work.execute(
            "INSERT INTO ledger_lot_return (group_id, lot_id, entry_id, amount_hao)"
            " SELECT $1, r.lot_id, $2, r.amount_hao FROM unnest($3::uuid[], $4::bigint[])"
            "  AS r(lot_id, amount_hao)",
            work.group_id,
            entry_id,
            [each.lot_id for each in batch.returns],
            [each.amount.hao for each in batch.returns],
        )
    if batch.extra:
        await work.execute(
            "INSERT INTO ledger_lot (group_id, id, purse_id, kind, source, amount_hao, created_at)"
            " SELECT $1, x.id, x.purse_id, 'GRANT', $2 || x.purse_id, x.amount_hao, $6"
            " FROM unnest($3::uuid[], $4::uuid[], $5::bigint[]) AS x(id, purse_id, amount_hao)",
            work.group_id,
            f"given-back:{entry_id}:",
            [uuid7(at) for _ in batch.extra],
            [purse_id for purse_id, _ in batch.extra],
            [amount for _, amount in batch.extra],
            at,
        )


async def _arrears(
    work: UnitOfWork, project_id: UUID, purses: Sequence[UUID], at: datetime
) -> dict[UUID, dict[AccountKind, int]]:
    """What stands in arrears of each purse (its ref) in hao by line of LINES, held until commit."""
    rows = await work.fetch(
        "SELECT a.id, a.kind, a.ref FROM ledger_account a"
        " WHERE a.group_id = $1 AND a.project_id = $2 AND a.kind = ANY($3) AND a.ref = ANY($4)",
        work.group_id,
        project_id,
        [str(kind) for kind in ARREARS],
        list(purses),
    )
    held = await hold(work, accounts=[row["id"] for row in rows])
    found: dict[UUID, dict[AccountKind, int]] = {purse: {} for purse in purses}
    line_of = {str(arrears): line for line, arrears in ARREARS_OF.items()}
    for row in rows:
        found[row["ref"]][line_of[row["kind"]]] = held[row["id"]]
    return found


async def recover_arrears(
    work: UnitOfWork, *, project_id: UUID, purse: UUID, source: str, at: datetime
) -> dict[AccountKind, Money]:
    """Pay what stands in arrears of a purse (its ref) out of it, line by line, before anything else is
    bought with it; what was paid of which line, for the receipt (C7). `source`: what brought the money
    (`topup:ID`); twice recovers once.
    """
    key = AccountKey(AccountKind.PURSE, purse)
    purse_id = (await account_ids(work, project_id=project_id, keys=[key], at=at))[key]
    funds = -(await hold(work, accounts=[purse_id]))[purse_id]
    standing = (await _arrears(work, project_id, [purse], at))[purse]
    wanted = min(funds, sum(standing.values()))
    if wanted <= 0:
        return {}
    rows = await work.fetch(_DRAW, work.group_id, project_id, [purse], [wanted])
    uses = [LotUse(lot, Money(amount)) for _, _, lot, amount in rows if lot is not None]
    paid = recovered_lines(standing, sum(use.amount.hao for use in uses))
    if not paid:
        return {}
    owed = [AccountKey(ARREARS_OF[line], purse) for line in paid]
    ids = await account_ids(work, project_id=project_id, keys=owed, at=at)
    entry_id = await write_entry(
        work,
        project_id=project_id,
        business_key=f"{source}:arrears",
        kind="ARREARS_RECOVERED",
        accounts=[purse_id, *(ids[each] for each in owed)],
        amounts=[sum(paid.values()), *(-amount for amount in paid.values())],
        at=at,
    )
    if entry_id is None:
        return {}
    await use_lots(work, entry_id=entry_id, uses=uses)
    return {line: Money(amount) for line, amount in paid.items()}


async def move_arrears(
    work: UnitOfWork, *, project_id: UUID, purse: UUID, to: UUID, source: str, at: datetime
) -> Money:
    """What stands in arrears of a purse (its ref) stands in those of another from now on, line by line; how
    much. `source` moves once."""
    standing = (await _arrears(work, project_id, [purse], at))[purse]
    lines = {line: amount for line, amount in standing.items() if amount}
    if not lines:
        return ZERO
    keys = [AccountKey(ARREARS_OF[line], ref) for ref in (purse, to) for line in lines]
    ids = await account_ids(work, project_id=project_id, keys=keys, at=at)
    await hold(work, accounts=list(ids.values()))
    await write_entry(
        work,
        project_id=project_id,
        business_key=f"{source}:arrears-moved",
        kind="ARREARS_MOVED",
        accounts=[ids[key] for key in keys],
        amounts=[*(-amount for amount in lines.values()), *lines.values()],
        at=at,
    )
    return Money(sum(lines.values()))


async def recovered_by(
    work: UnitOfWork, *, sources: Sequence[str]
) -> dict[str, dict[AccountKind, Money]]:
    """What each source of money (`topup:ID`) paid of arrears, by line in their order, for receipts."""
    rows = await work.fetch(
        "SELECT e.business_key, a.kind, -p.amount_hao AS amount_hao FROM ledger_entry e"
        " JOIN ledger_posting p ON p.group_id = e.group_id AND p.entry_id = e.id"
        " JOIN ledger_account a ON a.group_id = p.group_id AND a.id = p.account_id"
        " WHERE e.group_id = $1 AND e.business_key = ANY($2) AND a.kind = ANY($3)",
        work.group_id,
        [f"{source}:arrears" for source in sources],
        [str(kind) for kind in ARREARS],
    )
    amounts = {(row["business_key"], row["kind"]): row["amount_hao"] for row in rows}
    return {
        source: {
            line: Money(amounts[f"{source}:arrears", str(ARREARS_OF[line])])
            for line in LINES
            if (f"{source}:arrears", str(ARREARS_OF[line])) in amounts
        }
        for source in sources
    }


async def arrears_of(work: UnitOfWork, *, purses: Sequence[UUID]) -> dict[UUID, Money]:
    """What stands in arrears of each purse (its ref), all lines together."""
    rows = await work.fetch(
        "SELECT a.ref, sum(b.balance_hao)::bigint AS owed FROM ledger_account a"
        " JOIN ledger_balance b ON b.group_id = a.group_id AND b.account_id = a.id"
        " WHERE a.group_id = $1 AND a.kind = ANY($2) AND a.ref = ANY($3) GROUP BY a.ref",
        work.group_id,
        [str(kind) for kind in ARREARS],
        list(purses),
    )
    found = {row["ref"]: Money(row["owed"]) for row in rows}
    return {purse: found.get(purse, ZERO) for purse in purses}
