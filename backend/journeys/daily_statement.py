"""The signed statement of each project and day: opening + in - out = closing, chained to the day before.

A day of the book is what was recorded in it (ledger/day_book.py): made again at any later time, a
statement's text is the same to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.kernel.clock import Period, business_day, day_period
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import NotFound
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.kernel.secrets import SecretBox
from backend.ledger.day_book import (
    Moved,
    Turnover,
    balances_before,
    digest_of,
    moved_in,
    turnover_in,
)
from backend.ledger.rules import LINES, AccountKind
from backend.outbox.operations import emit
from backend.reconcile import statements as rows
from backend.reconcile.statement_rules import FORMAT, StatementKeys, canonical
from backend.reconcile.statements import Statement
from backend.tenancy import queries as tenancy
from backend.tenancy.models import Project
from backend.tenancy.rules import Permission

TOPIC = "statement.due"
# Whatever began to be recorded before midnight has ended by then, one way or the other.
SETTLED_AFTER = timedelta(hours=2)
_CASH = (AccountKind.CASH_DESK, AccountKind.CARD_SLIPS, AccountKind.CASH_SAFE)
_INCOME = (AccountKind.REVENUE, *LINES, AccountKind.ROUNDING)


async def plan_statements(*, group_id: int, at: datetime) -> int:
    """Plan the statement of the day that is over, for each project; how many are new."""
    planned = 0
    async with unit_of_work(group_id) as work:
        for project in await tenancy.all_projects(work):
            day = business_day(at - SETTLED_AFTER, ZoneInfo(project.time_zone)) - timedelta(days=1)
            if day < _first_day(project):
                continue
            payload = {"project_id": str(project.id), "day": day.isoformat()}
            key = f"{project.id}:{day}"
            planned += await emit(work, topic=TOPIC, key=key, payload=payload, at=at)
    return planned


async def make_statements(
    *, box: SecretBox, group_id: int, project_id: UUID, until: date, at: datetime
) -> int:
    """Make every missing statement of a project up to a day, oldest first; how many were made."""
    keys, made = StatementKeys(box), 0
    while True:
        async with unit_of_work(group_id) as work:
            project = await tenancy.project_by_id(work, project_id=project_id)
            last = await rows.last_statement(work, project_id=project_id)
            day = _first_day(project) if last is None else last.day + timedelta(days=1)
            if day > until:
                return made
            body = await _body(work, project, day, last)
            previous = None if last is None else last.signed.hash
            statement = Statement(project_id, day, keys.sign(body), previous, at)
            made += await rows.add_statement(work, statement=statement)


async def recomputed(work: UnitOfWork, *, statement: Statement) -> str:
    """The text of a statement made anew from the book alone: what stood before its day is summed over
    all of the book and not taken from the statement before. The same bytes, or somebody changed one."""
    project = await tenancy.project_by_id(work, project_id=statement.project_id)
    return await _body(work, project, statement.day, None, chained=statement.previous)


async def daily_statement(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, day: date
) -> Statement:
    """A project's statement of a day, for an operator. Raises NotFound (also: not made yet)."""
    if not scope.may(Permission.RECONCILE_READ, project_id):
        raise NotFound("no such project")
    statement = await rows.statement_of_day(work, project_id=project_id, day=day)
    if statement is None:
        raise NotFound("there is no statement of this day")
    return statement


def _first_day(project: Project) -> date:
    return business_day(project.created_at, ZoneInfo(project.time_zone))


async def _body(
    work: UnitOfWork,
    project: Project,
    day: date,
    last: Statement | None,
    *,
    chained: bytes | None = None,
) -> str:
    span = day_period(day, ZoneInfo(project.time_zone))
    if last is None:
        opening = await balances_before(work, project_id=project.id, span=span)
    else:
        opening, chained = _closing_of(last), last.signed.hash
    moved = await moved_in(work, project_id=project.id, span=span, opening=opening)
    turnover = await turnover_in(work, project_id=project.id, span=span)
    digest = await digest_of(work, project_id=project.id, span=span)
    merchants = {one.id: one for one in await tenancy.merchant_accounts(work)}
    channels = [
        {
            "account": str(one.channel),
            "channel": merchants[one.channel].kind,
            "merchant": merchants[one.channel].key,
            "opening": _yuan(one.opening),
            "in": _yuan(one.came),
            "out": _yuan(one.went),
        }
        for one in moved
        if one.channel is not None
    ]
    return canonical(
        {
            "format": FORMAT,
            "group": work.group_id,
            "project": str(project.id),
            "day": day.isoformat(),
            **_ends(span),
            "accounts": _accounts(moved),
            "channels": channels,
            "entries": [
                {"kind": one.kind, "entries": one.entries, "moved": _yuan(one.moved)}
                for one in turnover
            ],
            "sums": _sums(moved, turnover),
            "book": digest.hex(),
            "previous": None if chained is None else chained.hex(),
        }
    )


def _ends(span: Period) -> dict[str, str]:
    assert span.end is not None
    return {"from": span.start.isoformat(), "to": span.end.isoformat()}


def _accounts(moved: Sequence[Moved]) -> list[dict[str, str]]:
    """Opening, in, out and closing of each kind; debits are positive."""
    by_kind: dict[AccountKind, list[int]] = {}
    for one in moved:
        held = by_kind.setdefault(one.kind, [0, 0, 0])
        for place, hao in enumerate((one.opening, one.came, one.went)):
            held[place] += hao
    return [
        {
            "kind": str(kind),
            "opening": _yuan(opening),
            "in": _yuan(came),
            "out": _yuan(went),
            "closing": _yuan(opening + came - went),
        }
        for kind, (opening, came, went) in sorted(by_kind.items())
    ]


def _sums(moved: Sequence[Moved], turnover: Sequence[Turnover]) -> dict[str, str]:
    """The day in a line: what came and went by channels and over the counter, given back, sent to
    meters, used."""

    def of(kinds: Sequence[AccountKind]) -> tuple[int, int]:
        these = [one for one in moved if one.kind in kinds]
        return sum(one.came for one in these), sum(one.went for one in these)

    def net(kind: str) -> int:
        of_kind = {one.kind: one.moved for one in turnover}
        return of_kind.get(kind, 0) - of_kind.get(f"{kind}_REVERSED", 0)

    channels, cash, income = of([AccountKind.CHANNEL]), of(_CASH), of(_INCOME)
    return {
        "channelsIn": _yuan(channels[0]),
        "channelsOut": _yuan(channels[1]),
        "cashIn": _yuan(cash[0]),
        "cashOut": _yuan(cash[1]),
        "refunds": _yuan(net("REFUND_DONE")),
        "vends": _yuan(net("VEND_SETTLED")),
        "use": _yuan(income[1] - income[0]),
    }


def _closing_of(statement: Statement) -> dict[tuple[AccountKind, UUID | None], int]:
    """What a statement closed with, by kind and channel, in hao."""
    body = json.loads(statement.signed.body)
    closing: dict[tuple[AccountKind, UUID | None], int] = {
        (AccountKind(one["kind"]), None): Money.parse(one["closing"]).hao
        for one in body["accounts"]
        if one["kind"] != AccountKind.CHANNEL
    }
    for one in body["channels"]:
        opening, came, went = (Money.parse(one[name]).hao for name in ("opening", "in", "out"))
        closing[AccountKind.CHANNEL, UUID(one["account"])] = opening + came - went
    return closing


def _yuan(hao: int) -> str:
    return str(Money(hao))
