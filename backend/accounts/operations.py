"""Writes of accounts: areas, opening an account, customers, binding by code, unbinding."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from tortoise.exceptions import IntegrityError

from backend.audit.operations import record
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.ids import uuid7
from backend.kernel.scope import Actor, Scope
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

from .models import Account, Area, Binding, Challenge, Customer
from .rules import CODE_LIFE, check_account_no, check_phone, mask_phone


async def add_area(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    parent_id: UUID | None,
    name: str,
    at: datetime,
) -> Area:
    """Create a place. Raises NotFound, Forbidden, InvalidInput, Conflict (same name there)."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.ACCOUNT_WRITE, project_id)
    if not name.strip():
        raise InvalidInput("an area needs a name", field="name")
    try:
        area = await Area.create(
            id=uuid7(at),
            group_id=work.group_id,
            project_id=project_id,
            parent_id=parent_id,
            name=name.strip(),
        )
    except IntegrityError as error:
        raise Conflict("an area of this name exists there, or the parent is unknown") from error
    await record(
        work,
        actor=scope.actor,
        action="area:self:create",
        subject=str(area.id),
        at=at,
        project_id=project_id,
        after={"name": area.name},
    )
    return area


async def open_account(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    area_id: UUID,
    no: str,
    name: str,
    phone: str,
    at: datetime,
) -> Account:
    """Open an account (开户). Raises NotFound, Forbidden, InvalidInput, Conflict (number taken)."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.ACCOUNT_WRITE, project_id)
    if not name.strip():
        raise InvalidInput("an account needs a name", field="name")
    try:
        account = await Account.create(
            id=uuid7(at),
            group_id=work.group_id,
            project_id=project_id,
            area_id=area_id,
            no=check_account_no(no),
            name=name.strip(),
            phone=check_phone(phone),
            opened_at=at,
        )
    except IntegrityError as error:
        raise Conflict(
            f"the account number {no} is taken, or the area is not of this project"
        ) from error
    await record(
        work,
        actor=scope.actor,
        action="account:self:open",
        subject=str(account.id),
        at=at,
        project_id=project_id,
        after={"no": no, "name": account.name, "phone": mask_phone(phone)},
    )
    return account


async def ensure_customer(
    work: UnitOfWork, *, channel: str, app_id: str, external_id: str, at: datetime
) -> Customer:
    """The customer known by that id at that channel, made on first sight."""
    await work.execute(
        "INSERT INTO accounts_customer (group_id, id, channel, app_id, external_id, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        work.group_id,
        uuid7(at),
        channel,
        app_id,
        external_id,
        at,
    )
    return await Customer.get(
        group_id=work.group_id, channel=channel, app_id=app_id, external_id=external_id
    )


async def hold_code_limits(work: UnitOfWork, *, account_no: str, customer_id: UUID) -> None:
    """Make requests for codes of one account number or by one customer take turns until commit.

    Without it two requests at once both see the last free place. Always the account first: no
    deadlock.
    """
    for limited in (f"bind-account/{account_no}", f"bind-customer/{customer_id}"):
        await work.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", limited, work.group_id
        )


async def start_challenge(
    work: UnitOfWork,
    *,
    customer_id: UUID,
    account_no: str,
    account_id: UUID | None,
    code_digest: bytes,
    at: datetime,
) -> Challenge:
    """Remember a code that goes to the registered phone of `account_id` (None: to nobody)."""
    return await Challenge.create(
        id=uuid7(at),
        group_id=work.group_id,
        customer_id=customer_id,
        account_no=account_no,
        account_id=account_id,
        code_digest=code_digest,
        created_at=at,
        expires_at=at + CODE_LIFE,
    )


async def count_try(work: UnitOfWork, *, challenge_id: UUID, customer_id: UUID) -> Challenge | None:
    """Lock a customer's own unused challenge and count one try at it; None when there is none."""
    row = await work.fetchrow(
        "UPDATE accounts_challenge SET tries = tries + 1"
        " WHERE group_id = $1 AND id = $2 AND customer_id = $3 AND used_at IS NULL RETURNING id",
        work.group_id,
        challenge_id,
        customer_id,
    )
    if row is None:
        return None
    return await Challenge.get(group_id=work.group_id, id=row["id"])


async def bind(
    work: UnitOfWork,
    *,
    actor: Actor,
    customer_id: UUID,
    account: Account,
    challenge_id: UUID,
    at: datetime,
) -> None:
    """Use up the challenge and bind; binding again what is bound changes nothing."""
    await work.execute(
        "UPDATE accounts_challenge SET used_at = $3 WHERE group_id = $1 AND id = $2",
        work.group_id,
        challenge_id,
        at,
    )
    await work.execute(
        "INSERT INTO accounts_binding (group_id, id, customer_id, account_id, bound_at)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        work.group_id,
        uuid7(at),
        customer_id,
        account.id,
        at,
    )
    await record(
        work,
        actor=actor,
        action="account:customer:bind",
        subject=str(account.id),
        at=at,
        project_id=account.project_id,
        after={"customer": str(customer_id)},
    )


async def unbind(
    work: UnitOfWork, *, actor: Actor, customer_id: UUID, account: Account, at: datetime
) -> bool:
    """End a binding; False when there was none."""
    ended = await Binding.filter(
        group_id=work.group_id,
        customer_id=customer_id,
        account_id=account.id,
        ended_at__isnull=True,
    ).update(ended_at=at)
    if ended:
        await record(
            work,
            actor=actor,
            action="account:customer:unbind",
            subject=str(account.id),
            at=at,
            project_id=account.project_id,
            before={"customer": str(customer_id)},
        )
    return bool(ended)


async def move_to_area(work: UnitOfWork, *, account_id: UUID, area_id: UUID) -> None:
    """The account is at another place of its project (转户). Raises Conflict: a place of another one."""
    try:
        await Account.filter(group_id=work.group_id, id=account_id).update(area_id=area_id)
    except IntegrityError as error:
        raise Conflict("the place is not of this project") from error
