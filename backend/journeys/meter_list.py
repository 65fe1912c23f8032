"""The present state of a project's meters as a file to take along (A21): who may ask for it gets an address
that opens for two minutes, with that operator's rights as they are then.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.accounts.queries import area_paths
from backend.audit.operations import record
from backend.control.state_rules import MARKS
from backend.control.supply_rules import SupplyPolicy
from backend.kernel.db import Row, UnitOfWork, unit_of_work
from backend.kernel.errors import NotFound
from backend.kernel.scope import Scope
from backend.kernel.secrets import SealBroken, SecretBox
from backend.metering.rules import CreditMode, MeterKind
from backend.metering.tags import tags_of_meters
from backend.reports.sheets import Cell, Coloured, Column, Sheet
from backend.tenancy.queries import project as project_door
from backend.tenancy.queries import scope_of
from backend.tenancy.rules import Permission

from .charge_figures import figures
from .meter_states import meter_states

LINK_LIFE = timedelta(minutes=2)
_PLACE = "export/meters"
_AT_ONCE = 1_000  # meters of one page
_GONE = "this address is not valid any more"
# The list tells of meters and of who lives where, and leaves the house with whoever takes it.
_NEEDS = (Permission.METER_EXPORT, Permission.METER_READ, Permission.ACCOUNT_READ)
COLUMNS = (
    Column("表号", 18),
    Column("表型", 16),
    Column("类别", 6),
    Column("网关", 14),
    Column("户号", 12),
    Column("户名", 20),
    Column("位置", 28),
    Column("标记", 6),
    Column("状态", 10),
    Column("余额(元)", 12),
    Column("供电策略", 10),
    Column("继电器/阀门", 12),
    Column("总示数", 14),
    Column("抄读时间", 20),
    Column("标签", 18),
)
_KINDS = {MeterKind.ELECTRICITY: "电", MeterKind.WATER: "水", MeterKind.HEAT: "热"}
_POLICIES = {
    SupplyPolicy.AUTO: "自动",
    SupplyPolicy.KEEP_ON: "保电",
    SupplyPolicy.FORCED_OFF: "拉闸",
}
_RELAY = {0: "断开", 1: "闭合", None: "未知"}
_PAGE = (
    "SELECT m.id, m.serial, m.profile, m.kind, m.credit_mode, g.serial AS gateway, a.id AS account_id,"
    "  a.no, a.name, a.area_id, l.at, l.total, l.remaining_hao, l.relay, p.protected_at,"
    "  CASE WHEN p.policy_until <= $5 THEN 'AUTO' ELSE coalesce(p.policy, 'AUTO') END AS policy"
    " FROM metering_meter m"
    " JOIN metering_gateway g ON g.group_id = m.group_id AND g.id = m.gateway_id"
    " LEFT JOIN metering_assignment s"
    "  ON s.group_id = m.group_id AND s.meter_id = m.id AND s.ended_at IS NULL"
    " LEFT JOIN accounts_account a ON a.group_id = s.group_id AND a.id = s.account_id"
    " LEFT JOIN metering_latest l ON l.group_id = m.group_id AND l.meter_id = m.id"
    " LEFT JOIN control_supply p ON p.group_id = m.group_id AND p.meter_id = m.id"
    " WHERE m.group_id = $1 AND m.project_id = $2 AND m.removed_at IS NULL"
    "  AND ($3::text IS NULL OR m.serial > $3) ORDER BY m.serial LIMIT $4"
)


@dataclass(frozen=True, slots=True)
class ExportLink:
    """An address that opens until `expires_at`."""

    token: str
    expires_at: datetime


async def make_export_link(
    *, box: SecretBox, scope: Scope, project_id: UUID, at: datetime
) -> ExportLink:
    """An address of the list of a project's meters, sealed for its group and operator. Raises NotFound,
    Forbidden."""
    expires_at = at + LINK_LIFE
    async with unit_of_work(scope.group_id) as work:
        project = await project_door(work, scope=scope, project_id=project_id)
        _require(scope, project_id)
        await record(
            work,
            actor=scope.actor,
            action="export:meters:link",
            subject=str(project_id),
            at=at,
            project_id=project.id,
        )
    told = {
        "group": str(scope.group_id),
        "operator": scope.actor.id,
        "project": str(project_id),
        "until": expires_at.isoformat(),
    }
    sealed = base64.urlsafe_b64encode(box.seal(told, place=_PLACE)).decode().rstrip("=")
    return ExportLink(sealed, expires_at)


async def export_meters(
    *, box: SecretBox, token: str, address: str, path: Path, at: datetime
) -> str:
    """Write the list behind an address to `path`; gives the file's name for people. Raises NotFound, the
    same for a wrong, foreign or old address and for an operator without the right any more."""
    told = _opened(box, token, at)
    group_id, project_id = int(told["group"]), UUID(told["project"])
    async with unit_of_work(group_id) as work:
        operator_id = UUID(told["operator"])
        scope = await scope_of(work, operator_id=operator_id, address=address)
        if scope is None or not _may(scope, project_id):
            raise NotFound(_GONE)
        project = await project_door(work, scope=scope, project_id=project_id)
        await record(
            work,
            actor=scope.actor,
            action="export:meters:take",
            subject=str(project_id),
            at=at,
            project_id=project_id,
        )
    await _write(group_id, project_id, path, ZoneInfo(project.time_zone), at)
    day = at.astimezone(ZoneInfo(project.time_zone))
    return f"meters-{project.code}-{day:%Y%m%d-%H%M}.xlsx"


async def _write(group_id: int, project_id: UUID, path: Path, zone: ZoneInfo, at: datetime) -> None:
    """A page after the other, each read in a transaction of its own and written in a thread."""
    sheet = await asyncio.to_thread(Sheet, path, name="表计状态", columns=COLUMNS)
    after: str | None = None
    try:
        while True:
            async with unit_of_work(group_id) as work:
                rows = await work.fetch(_PAGE, group_id, project_id, after, _AT_ONCE, at)
                cells = await _cells(work, rows, zone)
            await asyncio.to_thread(sheet.add, cells)
            if len(rows) < _AT_ONCE:
                break
            after = rows[-1]["serial"]
    finally:
        await asyncio.to_thread(sheet.close)  # it has files of its own until then


async def _cells(
    work: UnitOfWork, rows: Sequence[Row], zone: ZoneInfo
) -> list[list[Cell | Coloured]]:
    ids = [row["id"] for row in rows]
    states = await meter_states(work, meter_ids=ids)
    tags = await tags_of_meters(work, meter_ids=ids)
    places = await area_paths(work, area_ids=list({row["area_id"] for row in rows} - {None}))
    cloud = {row["account_id"] for row in rows if row["credit_mode"] == CreditMode.CLOUD}
    money = await figures(work, account_ids=list(cloud - {None}))
    found: list[list[Cell | Coloured]] = []
    for row in rows:
        mark, held = MARKS[states[row["id"]]], money.get(row["account_id"])
        left = row["remaining_hao"]
        if row["credit_mode"] == CreditMode.CLOUD:
            left = None if held is None else held.available.hao
        kind = MeterKind(row["kind"])
        found.append(
            [
                row["serial"],
                row["profile"],
                _KINDS[kind],
                row["gateway"],
                row["no"],
                row["name"],
                places.get(row["area_id"]),
                Coloured(mark.glyph, mark.color),
                Coloured(mark.word, mark.color),
                None if left is None else Decimal(left).scaleb(-4),
                _policy(row),
                _RELAY[row["relay"]],
                None if row["total"] is None else Decimal(row["total"]).scaleb(-3),
                None if row["at"] is None else f"{row['at'].astimezone(zone):%Y-%m-%d %H:%M:%S}",
                "、".join(tags[row["id"]]),
            ]
        )
    return found


def _policy(row: Row) -> str:
    return "保护" if row["protected_at"] is not None else _POLICIES[SupplyPolicy(row["policy"])]


def _opened(box: SecretBox, token: str, at: datetime) -> dict[str, str]:
    try:
        padded = token + "=" * (-len(token) % 4)
        told = box.open(base64.b64decode(padded, altchars=b"-_", validate=True), place=_PLACE)
    except (SealBroken, binascii.Error, ValueError) as wrong:
        raise NotFound(_GONE) from wrong
    if at >= datetime.fromisoformat(told["until"]):
        raise NotFound(_GONE)
    return told


def _may(scope: Scope, project_id: UUID) -> bool:
    return all(scope.may(each, project_id) for each in _NEEDS)


def _require(scope: Scope, project_id: UUID) -> None:
    for each in _NEEDS:
        scope.require(each, project_id)
