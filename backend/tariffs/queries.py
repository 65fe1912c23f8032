"""Reads of tariffs: for operators by the doors, and for charging as timelines of compiled plans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .calendar import Held
from .rules import Plan, TariffKind, Terms, compile_terms
from .terms import terms_of


class VersionState(StrEnum):
    """DRAFT waits for its author, SUBMITTED for a second person. APPROVED holds from its instant on.
    REJECTED never holds."""

    DRAFT = "DRAFT"
    SUBMITTED = "SUBMITTED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class Tariff:
    """A tariff of a project; what it says is in its versions."""

    id: UUID
    project_id: UUID
    kind: TariffKind
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """What a tariff says from `effective_at` on, once approved. `jumps`: what of it is many times the
    former price, in words, confirmed by who submitted it. `note`: why it was rejected."""

    id: UUID
    project_id: UUID
    tariff_id: UUID
    number: int
    terms: Terms
    effective_at: datetime
    state: VersionState
    drafted_by: str
    drafted_name: str
    drafted_at: datetime
    submitted_by: str | None
    submitted_name: str | None
    submitted_at: datetime | None
    jumps: tuple[str, ...]
    decided_by: str | None
    decided_name: str | None
    decided_at: datetime | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Assignment:
    """An account pays by a tariff of a kind from `started_at` until its next assignment."""

    id: UUID
    account_id: UUID
    kind: TariffKind
    tariff_id: UUID
    started_at: datetime


def tariff_of(row: Row) -> Tariff:
    """A tariff from its table row."""
    kind = TariffKind(row["kind"])
    return Tariff(row["id"], row["project_id"], kind, row["name"], row["created_at"])


def version_of(row: Row) -> Version:
    """A version from its table row."""
    return Version(
        id=row["id"],
        project_id=row["project_id"],
        tariff_id=row["tariff_id"],
        number=row["number"],
        terms=terms_of(row["terms"]),
        effective_at=row["effective_at"],
        state=VersionState(row["state"]),
        drafted_by=row["drafted_by"],
        drafted_name=row["drafted_name"],
        drafted_at=row["drafted_at"],
        submitted_by=row["submitted_by"],
        submitted_name=row["submitted_name"],
        submitted_at=row["submitted_at"],
        jumps=tuple(row["jumps"]),
        decided_by=row["decided_by"],
        decided_name=row["decided_name"],
        decided_at=row["decided_at"],
        note=row["note"],
    )


def assignment_of(row: Row) -> Assignment:
    """An assignment from its table row."""
    kind = TariffKind(row["kind"])
    return Assignment(row["id"], row["account_id"], kind, row["tariff_id"], row["started_at"])


async def tariffs_of_project(work: UnitOfWork, *, scope: Scope, project_id: UUID) -> list[Tariff]:
    """The tariffs of a project by kind and name. Raises NotFound where the caller may not read (C29)."""
    if not scope.may(Permission.TARIFF_READ, project_id):
        raise NotFound("no such project")
    rows = await work.fetch(
        "SELECT * FROM tariffs_tariff WHERE group_id = $1 AND project_id = $2 ORDER BY kind, name",
        work.group_id,
        project_id,
    )
    return [tariff_of(row) for row in rows]


async def tariff(work: UnitOfWork, *, scope: Scope, tariff_id: UUID) -> Tariff:
    """One tariff for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM tariffs_tariff WHERE group_id = $1 AND id = $2", work.group_id, tariff_id
    )
    if row is None or not scope.may(Permission.TARIFF_READ, row["project_id"]):
        raise NotFound("no such tariff")
    return tariff_of(row)


async def version(work: UnitOfWork, *, scope: Scope, version_id: UUID) -> Version:
    """One version for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM tariffs_version WHERE group_id = $1 AND id = $2", work.group_id, version_id
    )
    if row is None or not scope.may(Permission.TARIFF_READ, row["project_id"]):
        raise NotFound("no such tariff version")
    return version_of(row)


async def versions_of_tariffs(
    work: UnitOfWork, *, tariff_ids: Sequence[UUID], limit: int
) -> dict[UUID, list[Version]]:
    """The newest versions of each of several tariffs, by one statement."""
    rows = await work.fetch(
        "SELECT v.* FROM unnest($2::uuid[]) AS t(id) CROSS JOIN LATERAL ("
        "   SELECT * FROM tariffs_version WHERE group_id = $1 AND tariff_id = t.id"
        "   ORDER BY number DESC LIMIT $3) v",
        work.group_id,
        list(tariff_ids),
        limit,
    )
    found: dict[UUID, list[Version]] = {tariff_id: [] for tariff_id in tariff_ids}
    for row in rows:
        found[row["tariff_id"]].append(version_of(row))
    return found


async def version_before(work: UnitOfWork, *, tariff_id: UUID, at: datetime) -> Version | None:
    """The approved version of a tariff that holds just before `at`, else the first that will."""
    row = await work.fetchrow(
        "SELECT * FROM tariffs_version WHERE group_id = $1 AND tariff_id = $2"
        " AND state = 'APPROVED' ORDER BY effective_at >= $3,"
        " CASE WHEN effective_at < $3 THEN effective_at END DESC, effective_at LIMIT 1",
        work.group_id,
        tariff_id,
        at,
    )
    return None if row is None else version_of(row)


async def version_beside(work: UnitOfWork, *, version: Version) -> Version | None:
    """The approved version of another tariff of its kind in its project that came last: what prices there are
    about."""
    row = await work.fetchrow(
        "SELECT v.* FROM tariffs_version v JOIN tariffs_tariff t ON t.group_id = v.group_id"
        " AND t.id = v.tariff_id AND t.kind = $4 WHERE v.group_id = $1 AND v.project_id = $2"
        " AND v.tariff_id <> $3 AND v.state = 'APPROVED' ORDER BY v.effective_at DESC, v.id DESC LIMIT 1",
        work.group_id,
        version.project_id,
        version.tariff_id,
        version.terms.kind,
    )
    return None if row is None else version_of(row)


async def version_at(work: UnitOfWork, *, tariff_id: UUID, at: datetime) -> Version:
    """The version of a tariff that holds at an instant. Raises NotFound when none does."""
    row = await work.fetchrow(
        "SELECT * FROM tariffs_version WHERE group_id = $1 AND tariff_id = $2"
        " AND state = 'APPROVED' AND effective_at <= $3 ORDER BY effective_at DESC LIMIT 1",
        work.group_id,
        tariff_id,
        at,
    )
    if row is None:
        raise NotFound("no such tariff version")
    return version_of(row)


async def assignments_of_accounts(
    work: UnitOfWork, *, account_ids: Sequence[UUID]
) -> dict[UUID, list[Assignment]]:
    """All that each account paid by and will pay by, oldest first, by one statement."""
    rows = await work.fetch(
        "SELECT * FROM tariffs_assignment WHERE group_id = $1 AND account_id = ANY($2)"
        " AND superseded_at IS NULL ORDER BY started_at",
        work.group_id,
        list(account_ids),
    )
    found: dict[UUID, list[Assignment]] = {account_id: [] for account_id in account_ids}
    for row in rows:
        found[row["account_id"]].append(assignment_of(row))
    return found


async def accounts_of_tariff(
    work: UnitOfWork, *, tariff_id: UUID, at: datetime, limit: int
) -> list[UUID]:
    """The accounts that pay by a tariff at an instant, at most `limit`, by id."""
    rows = await work.fetch(
        "SELECT a.account_id FROM tariffs_assignment a"
        " WHERE a.group_id = $1 AND a.tariff_id = $2 AND a.started_at <= $3"
        " AND a.superseded_at IS NULL AND NOT EXISTS ("
        "   SELECT FROM tariffs_assignment b WHERE b.group_id = $1"
        "   AND b.account_id = a.account_id AND b.kind = a.kind AND b.superseded_at IS NULL"
        "   AND b.started_at > a.started_at AND b.started_at <= $3)"
        " ORDER BY a.account_id LIMIT $4",
        work.group_id,
        tariff_id,
        at,
        limit,
    )
    return [row["account_id"] for row in rows]


async def timelines(
    work: UnitOfWork, *, account_ids: Sequence[UUID], kind: TariffKind, until: datetime
) -> dict[UUID, tuple[Held, ...]]:
    """Which plan holds for each account and kind from when on, before `until` (charging's input).

    Two statements whatever the number of accounts. An account that never had a tariff is absent; those
    that always paid by the same tariffs have the same tuple. `Plan.version` is the version's id as text.
    """
    rows = await work.fetch(
        "SELECT tariff_id, started_at, array_agg(account_id) FROM tariffs_assignment"
        " WHERE group_id = $1 AND account_id = ANY($2) AND kind = $3 AND started_at < $4"
        " AND superseded_at IS NULL GROUP BY tariff_id, started_at ORDER BY started_at",
        work.group_id,
        list(account_ids),
        kind,
        until,
    )
    of_tariff = await _held_by_tariff(work, {tariff_id for tariff_id, _, _ in rows}, until)
    paid: dict[UUID, tuple[tuple[UUID, datetime], ...]] = {}
    for tariff_id, started_at, accounts in rows:
        for account_id in accounts:
            paid[account_id] = (*paid.get(account_id, ()), (tariff_id, started_at))
    alike = {}
    for by in set(paid.values()):
        ends = (*(start for _, start in by[1:]), until)
        alike[by] = tuple(
            held
            for (tariff_id, start), end in zip(by, ends, strict=True)
            for held in _within(of_tariff[tariff_id], start, end)
        )
    return {account_id: alike[by] for account_id, by in paid.items()}


async def _held_by_tariff(
    work: UnitOfWork, tariff_ids: set[UUID], until: datetime
) -> dict[UUID, list[Held]]:
    rows = await work.fetch(
        "SELECT id, tariff_id, terms::text AS terms, effective_at FROM tariffs_version"
        " WHERE group_id = $1 AND tariff_id = ANY($2) AND state = 'APPROVED'"
        " AND effective_at < $3 ORDER BY effective_at",
        work.group_id,
        list(tariff_ids),
        until,
    )
    found: dict[UUID, list[Held]] = {tariff_id: [] for tariff_id in tariff_ids}
    for row in rows:
        plan = plan_of_version(str(row["id"]), row["terms"])
        found[row["tariff_id"]].append(Held(row["effective_at"], plan))
    return found


def _within(versions: Sequence[Held], start: datetime, end: datetime) -> tuple[Held, ...]:
    """The versions that hold in a span; the first from `start` on when it held before."""
    found: list[Held] = []
    for held in versions:
        if held.effective_at >= end:
            break
        if held.effective_at <= start:
            found = [Held(start, held.plan)]
        else:
            found.append(held)
    return tuple(found)


@lru_cache(maxsize=10_000)
def plan_of_version(version: str, kept: str) -> Plan:
    """The plan of a version out of its terms as JSON text, compiled once a process: a version never
    changes, and what it says is part of the key, so nobody gets another's (C29)."""
    return compile_terms(terms_of(json.loads(kept)), version=version)
