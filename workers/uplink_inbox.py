"""What gateways say over the sealed uplink, stored in PostgreSQL; what is not believed becomes a case.

The frames are genuine, the gateway may still be taken: a reading must be of a meter of that very
gateway and within the bounds of its past (workers.uplink_bounds).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from backend.alerts.operations import NewCase, open_cases
from backend.enrolment.queries import RingRow
from backend.journeys.vend import wake_vends
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.metrics import READINGS
from backend.metering.episodes import note_gateway_clock
from backend.metering.history import newest_until
from backend.metering.operations import note_gateway
from backend.metering.queries import latest_of_meters
from backend.metering.readings import Reading, store_readings
from backend.metering.rules import MeterKind
from backend.uplink import errors as uplink_errors
from backend.uplink.errors import UplinkRefused
from backend.uplink.message import Alarm, Ping, Read
from workers.drivers.registers import snapshot_of
from workers.gateway.alarms import Trouble
from workers.links.mqtt import Dropped
from workers.models import meter_models
from workers.recording import SaidBeside, note_beside, reading_of
from workers.uplink_bounds import Mark, Pace, doubt_of_instant, doubt_of_total

READING_REFUSED = "UPLINK_READING_REFUSED"
METER_UNKNOWN = "UPLINK_METER_UNKNOWN"
_INSTANT = timedelta(microseconds=1)
_STILL_SO = timedelta(hours=1)  # a load told later than this may be gone
_PING_KEPT = timedelta(seconds=60)  # a gateway pings twice a minute; its row need not hear of each
_METERS = (
    "SELECT id, project_id, serial, profile, kind FROM metering_meter"
    " WHERE group_id = $1 AND gateway_id = $2 AND serial = ANY($3)"
)
# The nearest raw reading before each instant; of packed days newest_until knows.
_BEFORE = (
    "SELECT k.meter_id, r.at, r.total FROM unnest($2::uuid[], $3::timestamptz[]) AS k(meter_id, at)"
    " CROSS JOIN LATERAL (SELECT r.at, r.total FROM metering_reading r WHERE r.group_id = $1"
    " AND r.meter_id = k.meter_id AND r.at < k.at ORDER BY r.at DESC LIMIT 1) r"
)


class RefusalDesk(Protocol):
    """Who tells operators of a refusal (backend.enrolment.desk.KeyDesk)."""

    async def refused(self, row: RingRow, error: UplinkRefused, *, at: datetime) -> None:
        """One episode a gateway and code."""
        ...


@dataclass(frozen=True, slots=True)
class _Meter:
    """A meter of the gateway, and how its register can run."""

    id: UUID
    project_id: UUID
    serial: str
    pace: Pace


class _Told(UplinkRefused):
    """A refusal by its code, for operators."""

    alarmed = True

    def __init__(self, code: str) -> None:
        super().__init__("refused on the sealed uplink")
        self.code = code


def _alarming() -> frozenset[str]:
    """The codes that a person must hear of."""
    kinds = vars(uplink_errors).values()
    named = {
        kind.code
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, UplinkRefused) and kind.alarmed
    }
    return frozenset(named | {Dropped.FLOOD, Dropped.TOO_LONG})


ALARMING = _alarming()


class UplinkRecords:
    """The UplinkInbox of the process that holds the sealed uplink."""

    def __init__(self, desk: RefusalDesk) -> None:
        self._desk = desk
        self._noted: dict[UUID, datetime] = {}

    async def readings(self, row: RingRow, reads: list[Read], at: datetime) -> None:
        """Store what is believed by one COPY, late readings too, and note the rest as cases.

        Raises one of uplink_ports.AWAY; then nothing of the batch is stored.
        """
        async with unit_of_work(row.group_id) as work:
            meters = await _meters(work, row, {read.meter for read in reads})
            batch = _Batch(row, meters, await _past(work, meters, reads), at)
            for read in sorted(reads, key=lambda read: read.at):
                batch.judge(read)
            stored = await store_readings(work, readings=batch.kept)
            await open_cases(work, cases=list(batch.cases.values()), at=at)
            await note_gateway(work, gateway_id=row.gateway_id, answered=True, at=at)
            heard = list({reading.meter_id for reading in batch.kept})
            await wake_vends(work, meter_ids=heard, at=at)
            await note_beside(work, batch.beside, at)
        READINGS.labels(outcome="stored").inc(stored)
        for doubt, count in batch.refused.items():
            READINGS.labels(outcome=doubt.lower()).inc(count)

    async def alarm(self, row: RingRow, alarm: Alarm, at: datetime) -> None:
        """A case of the gateway, or of its meter, by the alarm's name when it is one that we know."""
        name = alarm.name if alarm.name in Trouble.__members__ else "OTHER"
        async with unit_of_work(row.group_id) as work:
            meters = await _meters(work, row, {alarm.meter} if alarm.meter else set())
            meter = meters.get(alarm.meter or "")
            detail = {"gateway": row.serial, "since": alarm.since.isoformat(timespec="seconds")}
            case = NewCase(
                row.project_id,
                f"GATEWAY_{name}",
                str(meter.id if meter else row.gateway_id),
                detail | ({"meter": meter.serial} if meter else {"alarm": alarm.name}),
            )
            await open_cases(work, cases=[case], at=at)

    async def pinged(self, row: RingRow, ping: Ping, at: datetime) -> None:
        """Note that the gateway is there, and how far its clock is off (C24)."""
        noted = self._noted.get(row.gateway_id)
        if noted is not None and timedelta(0) <= at - noted < _PING_KEPT:
            return
        async with unit_of_work(row.group_id) as work:
            await note_gateway(work, gateway_id=row.gateway_id, answered=True, at=at)
            drift = ping.at - at
            await note_gateway_clock(work, gateway_id=row.gateway_id, drift=drift, at=at)
        self._noted[row.gateway_id] = at

    async def silent(self, row: RingRow, since: datetime) -> None:
        """Note since when the gateway is not heard; what follows of it is for the watch (C26)."""
        async with unit_of_work(row.group_id) as work:
            await note_gateway(work, gateway_id=row.gateway_id, answered=False, at=since)
        self._noted.pop(row.gateway_id, None)

    async def refused(self, who: RingRow | bytes, code: str, at: datetime) -> None:
        """A case when a person must hear of it. Of nobody's refusals there is the log alone."""
        if isinstance(who, RingRow) and code in ALARMING:
            await self._desk.refused(who, _Told(code), at=at)


class _Batch:
    """One gateway's readings, judged in the order of their instants."""

    def __init__(
        self,
        row: RingRow,
        meters: Mapping[str, _Meter],
        past: Mapping[UUID, tuple[Mark | None, Mark | None]],
        at: datetime,
    ) -> None:
        self._row = row
        self._meters = meters
        self._at = at
        self._before = {meter_id: before for meter_id, (before, _) in past.items()}
        self._latest = {meter_id: latest for meter_id, (_, latest) in past.items()}
        self.kept: list[Reading] = []
        self.beside = SaidBeside()
        self.cases: dict[tuple[str, str], NewCase] = {}
        self.refused: defaultdict[str, int] = defaultdict(int)

    def judge(self, read: Read) -> None:
        """Keep the reading, or the case that it makes."""
        meter = self._meters.get(read.meter)
        if meter is None:
            self._refuse(METER_UNKNOWN, str(self._row.gateway_id), self._row.project_id, read, "")
            return
        snapshot, total = snapshot_of(read), meter.pace.total(read)
        doubt = "NO_TOTAL" if total is None else doubt_of_instant(read, received_at=self._at)
        if total is not None and doubt is None:
            doubt = self._doubt(meter, Mark(read.at, total))
        if snapshot is None or total is None or doubt is not None:
            self._refuse(READING_REFUSED, str(meter.id), meter.project_id, read, str(doubt))
            return
        self._before[meter.id] = Mark(read.at, total)
        snapshot = snapshot._replace(total=total)  # of its kind, whatever else the gateway sent
        self.kept.append(reading_of(meter.id, snapshot, read.at, received_at=self._at))
        latest = self._latest.get(meter.id)
        newest = latest is None or read.at >= latest.at
        if newest and self._at - read.at <= _STILL_SO:
            self.beside.hear(meter.id, snapshot)

    def _doubt(self, meter: _Meter, mark: Mark) -> str | None:
        before, latest = self._before.get(meter.id), self._latest.get(meter.id)
        after = latest if latest is not None and latest.at > mark.at else None
        if latest is not None and after is None and (not before or before.at < latest.at):
            before = latest
        return doubt_of_total(mark, pace=meter.pace, before=before, after=after)

    def _refuse(self, kind: str, subject: str, project_id: UUID, read: Read, why: str) -> None:
        detail = {"gateway": self._row.serial, "meter": read.meter}
        if why:
            detail |= {"why": why, "at": read.at.isoformat(timespec="seconds")}
        self.cases.setdefault((kind, subject), NewCase(project_id, kind, subject, detail))
        self.refused[why or kind] += 1


async def _meters(work: UnitOfWork, row: RingRow, serials: Iterable[str]) -> dict[str, _Meter]:
    """The meters of this very gateway that are named so."""
    models = meter_models()
    rows = await work.fetch(_METERS, work.group_id, row.gateway_id, list(serials))
    found: dict[str, _Meter] = {}
    for each in rows:
        model, kind = models.get(each["profile"]), MeterKind(each["kind"])
        pace = Pace.of(kind, phases=3 if model is None else model.phases)
        found[each["serial"]] = _Meter(each["id"], each["project_id"], each["serial"], pace)
    return found


async def _past(
    work: UnitOfWork, meters: Mapping[str, _Meter], reads: Sequence[Read]
) -> dict[UUID, tuple[Mark | None, Mark | None]]:
    """For each meter its last reading before the batch, and its latest of all."""
    first: dict[UUID, datetime] = {}
    for read in reads:
        if (meter := meters.get(read.meter)) is not None:
            first[meter.id] = min(read.at, first.get(meter.id, read.at))
    rows = await work.fetch(_BEFORE, work.group_id, list(first), list(first.values()))
    before = {each["meter_id"]: Mark(each["at"], each["total"]) for each in rows}
    latest = await latest_of_meters(work, meter_ids=list(first))
    for meter_id in latest.keys() - before.keys():
        if latest[meter_id].at < first[meter_id]:
            continue
        packed = await newest_until(work, meter_id=meter_id, at=first[meter_id] - _INSTANT)
        if packed is not None:
            before[meter_id] = Mark(packed.at, packed.total)
    return {
        meter_id: (
            before.get(meter_id),
            Mark(latest[meter_id].at, latest[meter_id].total) if meter_id in latest else None,
        )
        for meter_id in first
    }
