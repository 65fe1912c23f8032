"""Let an account draw from another account's purse, and end that (C3): money, lots and arrears go along.

What the account's meters hold comes back to the purse it leaves and goes on to them out of the one it joins,
all by one commit, so that lots stand where the money is. Lock order: the accounts, the orders behind lots,
meter assignments, supplies, purses by id, meter wallets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from backend.accounts import queries as accounts
from backend.accounts import sharing
from backend.accounts.models import Account
from backend.audit.operations import record
from backend.charges.credit import end_emergency
from backend.control.queries import lock_undecided
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, NotFound
from backend.kernel.ids import uuid7
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Actor, Scope
from backend.ledger import operations as ledger
from backend.ledger.purses import move_arrears, recover_arrears
from backend.ledger.rules import AccountKey, AccountKind, LotKind, Posting, Transfer
from backend.ledger.statements import LotLeft, lots_left
from backend.metering import cloud
from backend.metering import queries as meters
from backend.metering.rules import CreditMode
from backend.metering.takedown_rules import check_reason
from backend.metering.takedowns import lock_assignment
from backend.tenancy.rules import Permission
from backend.topups import corrections
from backend.topups import operations as topups
from backend.topups.account_refunds import order_of_lot
from backend.topups.queries import Order

from .charge import charge_account
from .charge_batch import gather

_TENDER = Actor("system", "worker", "purse worker")
# Money, or arrears, on the own purse of an account that draws from another: a refund that failed, a payment
# that was being booked while the purses were joined.
_STRAYED = (
    "SELECT DISTINCT a.id FROM accounts_account a"
    " JOIN ledger_account l ON l.group_id = a.group_id AND l.ref = a.id"
    "  AND (l.kind = 'PURSE' OR l.kind LIKE '%\\_ARREARS')"
    " JOIN ledger_balance b ON b.group_id = l.group_id AND b.account_id = l.id AND b.balance_hao <> 0"
    " WHERE a.group_id = $1 AND a.purse_account_id IS NOT NULL AND a.closed_at IS NULL LIMIT 100"
)


@dataclass(frozen=True, slots=True)
class Joined:
    """An account and the purse (its ref) it draws from now; `moved`: the money that went along."""

    account_id: UUID
    purse: UUID
    moved: Money


@dataclass(frozen=True, slots=True)
class _Move:
    """Money on its way from a purse to another (refs), for whom, by whom and why; with the orders behind
    lots, by lot, and what the account's meters hold, by meter."""

    id: UUID
    account: Account
    actor: Actor
    reason: str
    source: UUID
    target: UUID
    at: datetime
    orders: Mapping[UUID, Order] = field(default_factory=dict)
    wallets: Mapping[UUID, Money] = field(default_factory=dict)

    def key(self, part: object) -> str:
        """The business key, or the source of a lot, of a part of it."""
        return f"purse:{self.id}:{part}"

    def is_own(self, lot: LotLeft) -> bool:
        """Whether a lot is what the account itself paid in."""
        return lot.id in self.orders and self.orders[lot.id].account_id == self.account.id


async def share_purse(
    *, scope: Scope, account_id: UUID, owner_id: UUID, reason: str, at: datetime
) -> Joined:
    """Let an account draw from the purse of another one of its project. What it used until now is charged
    to its own; then all its money, what stands in arrears, and the lots go to the shared one. What is left
    of this month's grant of its own class ends.

    Raises NotFound, Forbidden, InvalidInput, Conflict (closed, a chain, a sale to its meter under way).
    """
    told = check_reason(reason)
    async with unit_of_work(scope.group_id) as work:
        account, owner = await _both(work, scope, account_id, owner_id)
        move = await _begin(
            work, _Move(uuid7(at), account, scope.actor, told, account.id, owner.id, at)
        )
        await sharing.draw_from(work, account=account, owner=owner)
        moved = await _carry(work, move, await lots_left(work, purse=account.id))
        await _carry_arrears(work, move)
        await end_emergency(work, account_ids=[account.id])
        await _audit(work, move, "share", moved)
    return Joined(account.id, owner.id, moved)


async def part_purse(*, scope: Scope, account_id: UUID, reason: str, at: datetime) -> Joined:
    """Let an account draw from its own purse again. What is left of its own top-ups goes along, and what
    its meters hold; all else, and what stands in arrears, stays with the purse.

    Raises NotFound, Forbidden, InvalidInput, Conflict (it shares none, a sale to its meter under way).
    """
    told = check_reason(reason)
    async with unit_of_work(scope.group_id) as work:
        seen = await accounts.account(work, scope=scope, account_id=account_id)
        scope.require(Permission.PURSE_WRITE, seen.project_id)
        owner_id = seen.purse
        account = (await sharing.lock_accounts(work, account_ids=[account_id, owner_id]))[
            account_id
        ]
        if account.purse != owner_id or account.purse_account_id is None:
            raise Conflict("it draws from its own purse")
        move = await _begin(
            work, _Move(uuid7(at), account, scope.actor, told, owner_id, account.id, at)
        )
        await sharing.draw_from_own(work, account=account)
        lots = await lots_left(work, purse=owner_id)
        moved = await _carry(work, move, [lot for lot in lots if move.is_own(lot)])
        await _audit(work, move, "part", moved)
    return Joined(account.id, account.id, moved)


async def tend_shared_purses(*, group_id: int, at: datetime) -> int:
    """Bring to the shared purse what came to the own purse of an account that draws from another; how
    many accounts."""
    async with unit_of_work(group_id) as work:
        strayed = [row["id"] for row in await work.fetch(_STRAYED, group_id)]
    for account_id in strayed:
        async with unit_of_work(group_id) as work:
            locked = await sharing.lock_accounts(work, account_ids=[account_id])
            account = locked[account_id]
            if account.purse_account_id is None:
                continue
            why = "it came after the purses were joined"
            told = _Move(uuid7(at), account, _TENDER, why, account.id, account.purse, at)
            move = await _begin(work, told, with_meters=False)
            moved = await _carry(work, move, await lots_left(work, purse=account.id))
            await _carry_arrears(work, move)
            await _audit(work, move, "follow", moved)
    return len(strayed)


async def _both(
    work: UnitOfWork, scope: Scope, account_id: UUID, owner_id: UUID
) -> tuple[Account, Account]:
    """The two accounts, locked. Raises NotFound: also when they are of two projects, whose money is apart
    (A2); Forbidden."""
    seen = await accounts.account(work, scope=scope, account_id=account_id)
    owner = await accounts.account(work, scope=scope, account_id=owner_id)
    if seen.project_id != owner.project_id:
        raise NotFound("no such account")
    scope.require(Permission.PURSE_WRITE, seen.project_id)
    locked = await sharing.lock_accounts(work, account_ids=[account_id, owner_id])
    return locked[account_id], locked[owner_id]


async def _begin(work: UnitOfWork, move: _Move, *, with_meters: bool = True) -> _Move:
    """Hold all that takes part, charge what was read until now to the purse that it was used from, and end
    the account's own monthly grant, which is found by its purse. Raises Conflict."""
    orders: dict[UUID, Order] = {}
    for lot in await lots_left(work, purse=move.source):
        order = await order_of_lot(work, source=lot.source)
        if order is not None:
            orders[lot.id] = order
    await topups.lock_orders(work, order_nos=[order.order_no for order in orders.values()])
    meter_ids = await _prepaid(work, move.account.id) if with_meters else []
    served = await cloud.cloud_assignments(work, account_ids=[move.account.id])
    if served:
        await gather(work, served, move.at)
    purses = [AccountKey(AccountKind.PURSE, ref) for ref in (move.source, move.target)]
    wallets = {each: AccountKey(AccountKind.METER_WALLET, each) for each in meter_ids}
    keys = [*purses, *wallets.values()]
    project_id = move.account.project_id
    ids = await ledger.account_ids(work, project_id=project_id, keys=keys, at=move.at)
    await ledger.hold(work, accounts=[ids[key] for key in purses])
    while await charge_account(work, account_id=move.account.id, at=move.at):
        pass
    for lot in await lots_left(work, purse=move.source):
        if lot.source.startswith(f"grant:{move.account.id}:"):
            await ledger.end_grant(
                work,
                project_id=project_id,
                account_id=move.source,
                source=lot.source,
                at=move.at,
            )
    held = await ledger.hold(work, accounts=[ids[key] for key in wallets.values()])
    money = {each: Money(-held[ids[key]]) for each, key in wallets.items()}
    return replace(move, orders=orders, wallets={each: has for each, has in money.items() if has})


async def _prepaid(work: UnitOfWork, account_id: UUID) -> list[UUID]:
    """The account's meters that hold money, to which nothing is sold meanwhile. Raises Conflict."""
    found: list[UUID] = []
    for running in await meters.assignments_of_account(work, account_id=account_id):
        served = await lock_assignment(work, assignment_id=running.id)
        meter = await meters.meter_by_id(work, meter_id=served.meter_id)
        if served.ended_at is not None or meter.credit_mode != CreditMode.METER:
            continue
        if await lock_undecided(work, meter_id=meter.id):
            raise Conflict(
                f"money is on its way to the meter {meter.serial}: wait until it is there"
            )
        found.append(meter.id)
    return found


async def _carry(work: UnitOfWork, move: _Move, lots: Sequence[LotLeft]) -> Money:
    """Carry lots to the other purse with their money, and what meters hold in any case; how much the purse
    that is left holds less. A top-up's lot goes whole or not at all, so that it is refunded as one."""
    await _to_meters(work, move, "back", move.source, 1)
    project_id, at_meters = move.account.project_id, sum(move.wallets.values(), start=ZERO)
    purse = AccountKey(AccountKind.PURSE, move.source)
    ids = await ledger.account_ids(work, project_id=project_id, keys=[purse], at=move.at)
    held = Money(-(await ledger.hold(work, accounts=list(ids.values())))[ids[purse]])
    moved = ZERO
    for lot in lots:
        order, amount = move.orders.get(lot.id), min(lot.left, held - moved)
        if amount <= ZERO or (order is not None and amount < lot.left):
            continue
        source = move.key(lot.id)
        if order is not None:
            corrected = await corrections.add_correction(
                work,
                order=order,
                from_account=move.source,
                to_account=move.target,
                amount=amount,
                reason=move.reason,
                actor=move.actor,
                at=move.at,
            )
            source = corrected.lot
        await _carry_lot(work, move, lot.kind, amount, source, lot.source)
        moved += amount
    if moved < at_meters:
        rest = at_meters - moved
        await _carry_lot(work, move, LotKind.PAID, rest, move.key("at-meters"), None)
        moved += rest
    await _to_meters(work, move, "again", move.target, -1)
    return moved - at_meters


async def _carry_lot(
    work: UnitOfWork, move: _Move, kind: LotKind, amount: Money, source: str, of: str | None
) -> None:
    """A lot of the other purse out of the lot of the source `of`, or out of any in their order (C4)."""
    project_id = move.account.project_id
    await ledger.spend(
        work,
        project_id=project_id,
        account_id=move.source,
        business_key=f"{source}:moved",
        amount=amount,
        at=move.at,
        kind="PURSE_MOVED",
        to=AccountKey(AccountKind.PURSE, move.target),
        source=of,
    )
    await ledger.open_lot(
        work,
        project_id=project_id,
        account_id=move.target,
        kind=kind,
        source=source,
        amount=amount,
        at=move.at,
    )


async def _to_meters(work: UnitOfWork, move: _Move, part: str, purse: UUID, sign: int) -> None:
    """One entry between what the account's meters hold and a purse."""
    if not move.wallets:
        return
    postings = [
        Posting(AccountKey(AccountKind.METER_WALLET, meter), amount if sign > 0 else -amount)
        for meter, amount in move.wallets.items()
    ]
    total = sum((posting.amount for posting in postings), start=ZERO)
    postings.append(Posting(AccountKey(AccountKind.PURSE, purse), -total))
    transfer = Transfer(move.key(part), "METER_MONEY_MOVED", tuple(postings))
    await ledger.post(work, project_id=move.account.project_id, transfer=transfer, at=move.at)


async def _carry_arrears(work: UnitOfWork, move: _Move) -> None:
    """What stands in arrears goes along, and is paid by what the shared purse holds."""
    project_id, at = move.account.project_id, move.at
    await move_arrears(
        work,
        project_id=project_id,
        purse=move.source,
        to=move.target,
        source=move.key("joined"),
        at=at,
    )
    await recover_arrears(
        work, project_id=project_id, purse=move.target, source=move.key("joined"), at=at
    )


async def _audit(work: UnitOfWork, move: _Move, verb: str, moved: Money) -> None:
    await record(
        work,
        actor=move.actor,
        action=f"purse:self:{verb}",
        subject=str(move.account.id),
        at=move.at,
        project_id=move.account.project_id,
        before={"purse": str(move.source)},
        after={"purse": str(move.target), "moved": str(moved), "reason": move.reason},
    )
