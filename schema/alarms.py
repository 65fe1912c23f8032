"""Alarms (告警): what stands now, what stood, who looks after it, and at what levels they are raised."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated
from uuid import UUID

import strawberry

from backend.alerts import alarm_queries as queries
from backend.alerts import alarms, levels
from backend.alerts.alarm_rules import AlarmKind, AlarmLevel
from backend.journeys import alarm_levels as journey
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from backend.tenancy.rules import Permission

from .audit import KeyValue, pairs
from .context import Info
from .loaders import subject_of_alarm
from .nodes import Node
from .paging import Connection, project_page
from .problems import AnyProblem
from .resolvers import field, subscription
from .rights import mutation
from .scalars import ref, uuid_of

strawberry.enum(
    AlarmKind,
    description="LOW_1, LOW_2: little money is left; 2 is the last before a cut. ARREARS 欠费. DAYS_LEFT: by"
    " the forecast. OVERLOAD, MALIGNANT_LOAD 恶性负载, TAMPER 开盖, REVERSE 反向. CLOCK_DRIFT, METER_LOST,"
    " GATEWAY_LOST: as the episodes of the field. COUNT_MISMATCH, DRIFT, TARIFF_LAG, PAYMENT_EXCEPTION: as"
    " the exception cases.",
)
strawberry.enum(AlarmLevel, description="How much hurry: today, this hour, now.")
_HEARD_LATE = timedelta(minutes=5)  # an alarm may be committed after younger ones
_AT_ONCE = 200
_WHO = Permission.ACCOUNT_READ


@strawberry.type(description="An episode from the crossing until the cause is gone.")
class Alarm(Node):
    """告警."""

    key: strawberry.Private[UUID]
    kind: AlarmKind
    level: AlarmLevel
    project: strawberry.ID
    account: strawberry.ID | None
    meter: strawberry.ID | None
    gateway: strawberry.ID | None
    detail: list[KeyValue] = strawberry.field(description="The values as they were seen last.")
    began_at: datetime
    ended_at: datetime | None = strawberry.field(description="Null while it stands.")
    ended_why: str | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    note: str | None

    @field(description="The number of its meter, else of its gateway.")
    async def serial(self, info: Info) -> str | None:
        """By one statement for all alarms that are asked for."""
        return (await subject_of_alarm(info.context, self.key)).serial

    @field(description="Number and name of its account; null for who may not read accounts there.")
    async def concerns(self, info: Info) -> str | None:
        """By one statement for all alarms that are asked for."""
        found = await subject_of_alarm(info.context, self.key)
        if found.no is None or not info.context.caller().may(_WHO, found.project_id):
            return None
        return f"{found.no} {found.name}"


@strawberry.type(description="At what money and power is alarmed.")
class AlarmLevels:
    """告警阈值."""

    low1: Money
    low2: Money = strawberry.field(description="The last warning before a cut.")
    overload_w: int | None = strawberry.field(description="Null: no power is too much.")
    own: bool = strawberry.field(description="Some of it is the meter's own, not its project's.")


AlarmResult = Annotated[Alarm | AnyProblem, strawberry.union("AlarmResult")]
AlarmLevelsResult = Annotated[AlarmLevels | AnyProblem, strawberry.union("AlarmLevelsResult")]


def alarm_of(row: alarms.Alarm) -> Alarm:
    """An alarm as the schema shows it."""
    return Alarm(
        id=ref("Alarm", row.id),
        key=row.id,
        kind=row.kind,
        level=AlarmLevel(row.level),
        project=ref("Project", row.project_id),
        account=None if row.account_id is None else ref("Account", row.account_id),
        meter=None if row.meter_id is None else ref("Meter", row.meter_id),
        gateway=None if row.gateway_id is None else ref("Gateway", row.gateway_id),
        detail=pairs(row.detail),
        began_at=row.began_at,
        ended_at=row.ended_at,
        ended_why=row.ended_why,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
        note=row.note,
    )


def levels_of(row: levels.Levels) -> AlarmLevels:
    """Levels as the schema shows them."""
    return AlarmLevels(low1=row.low_1, low2=row.low_2, overload_w=row.overload_w, own=row.own)


async def load_alarm(work: UnitOfWork, info: Info, alarm_id: UUID) -> Alarm:
    """One alarm by the operator's door. Raises NotFound."""
    return alarm_of(await queries.alarm(work, scope=info.context.caller(), alarm_id=alarm_id))


@strawberry.type
class AlarmQueries:
    """Reads."""

    @field(
        description="Alarms of a project, newest first: those that stand, or with the past ones."
    )
    async def alarms(
        self,
        info: Info,
        project: strawberry.ID,
        kind: AlarmKind | None = None,
        level: AlarmLevel | None = None,
        live: bool = True,
        first: int = 50,
        after: str | None = None,
    ) -> Connection[Alarm]:
        """A page; `level` is the least grave one wanted. Raises NotFound, InvalidInput."""
        rows = partial(queries.alarms_page, wanted=queries.Wanted(kind, level, live))
        return await project_page(info, project, first, after, rows=rows, node=alarm_of)

    @field(description="The levels of a project's meters that have none of their own.")
    async def alarm_levels(self, info: Info, project: strawberry.ID) -> AlarmLevels:
        """Raises NotFound."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        async with info.context.work() as work:
            row = await levels.project_levels(work, scope=scope, project_id=project_id)
        return levels_of(row)

    @field(description="The levels that hold at a meter.")
    async def meter_alarm_levels(self, info: Info, meter: strawberry.ID) -> AlarmLevels:
        """Raises NotFound."""
        scope, meter_id = info.context.caller(), uuid_of(meter, "Meter")
        async with info.context.work() as work:
            row = await journey.meter_levels(work, scope=scope, meter_id=meter_id)
        return levels_of(row)


@strawberry.type
class AlarmMutations:
    """Writes."""

    @mutation(Permission.ALARM_ACKNOWLEDGE)
    async def acknowledge_alarm(self, info: Info, id: strawberry.ID, note: str) -> AlarmResult:
        """Say that somebody looks after an alarm; it stands until its cause is gone."""
        scope, alarm_id = info.context.caller(), uuid_of(id, "Alarm")
        async with info.context.work() as work:
            row = await alarms.acknowledge(
                work, scope=scope, alarm_id=alarm_id, note=note, at=info.context.now
            )
        return alarm_of(row)

    @mutation(Permission.PROJECT_WRITE)
    async def set_alarm_levels(
        self,
        info: Info,
        project: strawberry.ID,
        low1: Money,
        low2: Money,
        overload_w: int | None = None,
    ) -> AlarmLevelsResult:
        """The levels of a project's meters that have none of their own."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        wanted = levels.Levels(low1, low2, overload_w)
        async with info.context.work() as work:
            row = await levels.set_project_levels(
                work, scope=scope, project_id=project_id, levels=wanted, at=info.context.now
            )
        return levels_of(row)

    @mutation(Permission.METER_WRITE)
    async def set_meter_alarm_levels(
        self,
        info: Info,
        meter: strawberry.ID,
        low1: Money | None = None,
        low2: Money | None = None,
        overload_w: int | None = None,
    ) -> AlarmLevelsResult:
        """A meter's own levels; what is null is as its project says. One that holds money is told them."""
        row = await journey.set_meter_levels(
            scope=info.context.caller(),
            meter_id=uuid_of(meter, "Meter"),
            low=_both(low1, low2),
            overload_w=overload_w,
            models=info.context.ports.meter_models,
            at=info.context.now,
        )
        return levels_of(row)


def _both(low1: Money | None, low2: Money | None) -> tuple[Money, Money] | None:
    if low1 is None and low2 is None:
        return None
    if low1 is None or low2 is None:
        raise InvalidInput("give both levels of money, or none", field="low1")
    return low1, low2


@strawberry.type
class AlarmSubscriptions:
    """Live."""

    @subscription(
        description="Each alarm of a project that begins from now on, as long as the caller may see them."
        " Of very many at once the newest 200: the list has them all."
    )
    async def alarm_raised(self, info: Info, project: strawberry.ID) -> AsyncGenerator[Alarm, None]:
        """Authorised anew at every event. Raises Unauthenticated, NotFound."""
        project_id, started = uuid_of(project, "Project"), info.context.now
        group_id = (await info.context.scope_now()).group_id
        with info.context.bell.listen_to_alarms(group_id=group_id) as rings:
            found = await _lately(info, project_id)
            known = {row.id for row in found if row.began_at < started}
            while True:
                for row in found:
                    if row.id not in known:
                        yield alarm_of(row)
                known |= {row.id for row in found}
                await rings.get()
                found = await _lately(info, project_id)


async def _lately(info: Info, project_id: UUID) -> list[alarms.Alarm]:
    scope = await info.context.scope_now()
    since = info.context.now - _HEARD_LATE
    async with unit_of_work(scope.group_id) as work:
        return await queries.alarms_since(
            work, scope=scope, project_id=project_id, since=since, limit=_AT_ONCE
        )
