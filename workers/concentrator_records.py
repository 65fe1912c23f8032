"""What the concentrator asks of the database and writes into it: who may dial in, what happened.

Nothing here holds up a line: what happens is noted in memory and written by `run`. A gateway's state
is noted once however often it changes meanwhile, so two boxes that fight for one registration cost the
database next to nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from backend.alerts.operations import open_case
from backend.kernel.clock import Clock
from backend.kernel.db import DATABASE_AWAY, unit_of_work
from backend.kernel.errors import DomainError, Unavailable
from backend.kernel.metrics import DIAL_IN_UPLOADS, DIAL_INS, LINES
from backend.kernel.secrets import SecretBox
from backend.metering.dial_in import dial_in_by_registration
from backend.metering.operations import note_gateway
from backend.metering.rules import GatewayLink
from workers.links.dialin.ports import DialInRow, Report, Upload, UploadInbox
from workers.links.episodes import Episodes

log = logging.getLogger(__name__)

_LOOKUP_S = 5.0
_MOST_UPLOADS = 2000
_STORERS = 4
_CONTESTED = 6  # times an hour that a connection takes another one's place
_HOUR = timedelta(hours=1)


class AllowList:
    """The rows of metering_dial_in; a Directory."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    async def find(
        self, link: str, candidates: Sequence[bytes], /, *, whole: bool
    ) -> DialInRow | None:
        """See Directory.find."""
        try:
            async with asyncio.timeout(_LOOKUP_S):
                found = await dial_in_by_registration(
                    link=GatewayLink(link), candidates=candidates, whole=whole, box=self._box
                )
        except DATABASE_AWAY as failure:
            raise Unavailable("the list of dial-ins cannot be read now") from failure
        if found is None:
            return None
        return DialInRow(
            group_id=found.group_id,
            gateway_id=found.gateway_id,
            project_id=found.project_id,
            serial=found.serial,
            link=link,
            registration=found.dial_in.registration,
            prefix=found.dial_in.prefix,
            heartbeat=found.dial_in.heartbeat,
            secret=found.dial_in.secret,
        )


@dataclass(frozen=True, slots=True)
class _Case:
    row: DialInRow
    kind: str
    detail: Mapping[str, str]
    at: datetime


class Chronicle:
    """What happens on the lines, in counters, the log and the database; a Watch."""

    def __init__(self, *, clock: Clock, inbox: UploadInbox | None) -> None:
        self._clock = clock
        self._inbox = inbox
        self._told = Episodes()
        self._states: dict[UUID, tuple[DialInRow, bool, datetime]] = {}
        self._cases: dict[tuple[UUID, str], _Case] = {}
        self._rung = asyncio.Event()
        self._uploads: asyncio.Queue[tuple[DialInRow, Upload | Report, datetime]] = asyncio.Queue(
            _MOST_UPLOADS
        )
        self._takeovers: dict[UUID, deque[datetime]] = {}

    async def run(self) -> None:
        """Write what is noted, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write())
            for _ in range(_STORERS):
                group.create_task(self._store())

    def connected(self, row: DialInRow, /, *, replaced: bool) -> None:
        """See Watch.connected. Many take-overs within an hour are a case: two boxes have one id."""
        DIAL_INS.labels(link=row.link, outcome="replaced" if replaced else "connected").inc()
        now = self._clock.now()
        if replaced:
            self._taken_over(row, now)
        else:
            LINES.inc()
        self._states[row.gateway_id] = row, True, now
        self._rung.set()
        self._tell("a line stands", ("connected", row.gateway_id), _of(row), level=logging.INFO)

    def disconnected(self, row: DialInRow, /, *, reason: str) -> None:
        """See Watch.disconnected."""
        DIAL_INS.labels(link=row.link, outcome="ended").inc()
        LINES.dec()
        self._states[row.gateway_id] = row, False, self._clock.now()
        self._rung.set()
        thing = ("disconnected", row.gateway_id, reason)
        self._tell("a line ended", thing, {"reason": reason, **_of(row)}, level=logging.INFO)

    def unknown(self, link: str, opening: bytes, address: str, /) -> None:
        """See Watch.unknown."""
        DIAL_INS.labels(link=link, outcome="unknown").inc()
        said = {"link": link, "address": address, "hex": opening.hex(), "text": _printable(opening)}
        self._tell("nobody's registration", ("unknown", link, opening), said)

    def refused(self, row: DialInRow, address: str, /, *, reason: str) -> None:
        """See Watch.refused."""
        DIAL_INS.labels(link=row.link, outcome="refused").inc()
        said = {"reason": reason, "address": address, **_of(row)}
        if self._tell("a dial-in did not prove its id", ("refused", row.gateway_id), said):
            self._open_case(row, "DIAL_IN_REFUSED", {"reason": reason, "address": address})

    def turned_away(self, link: str, address: str, /, *, reason: str) -> None:
        """See Watch.turned_away."""
        DIAL_INS.labels(link=link, outcome="turned_away").inc()
        thing = ("turned away", link, address, reason)
        said = {"link": link, "address": address, "reason": reason}
        self._tell("a stranger was turned away", thing, said)

    def broken(self, row: DialInRow, /, *, reason: str) -> None:
        """See Watch.broken."""
        DIAL_INS.labels(link=row.link, outcome="broken").inc()
        self._tell("bad bytes", ("broken", row.gateway_id), {"reason": reason, **_of(row)})

    def uploaded(self, row: DialInRow, sent: Upload | Report, /) -> None:
        """See Watch.uploaded. What the inbox cannot keep up with is dropped and counted."""
        try:
            self._uploads.put_nowait((row, sent, self._clock.now()))
        except asyncio.QueueFull:
            DIAL_IN_UPLOADS.labels(link=row.link, outcome="dropped").inc()

    def _taken_over(self, row: DialInRow, now: datetime) -> None:
        times = self._takeovers.setdefault(row.gateway_id, deque(maxlen=_CONTESTED))
        times.append(now)
        if len(times) == _CONTESTED and now - times[0] < _HOUR:
            times.clear()
            self._open_case(row, "DIAL_IN_CONTESTED", {"takeovers": str(_CONTESTED)})

    def _open_case(self, row: DialInRow, kind: str, detail: Mapping[str, str]) -> None:
        told = {"gateway": row.serial, "link": row.link, **detail}
        self._cases[row.gateway_id, kind] = _Case(row, kind, told, self._clock.now())
        self._rung.set()

    def _tell(
        self,
        what: str,
        thing: tuple[object, ...],
        said: Mapping[str, str],
        *,
        level: int = logging.WARNING,
    ) -> bool:
        """Into the log once an hour; whether it went there."""
        unsaid = self._told.begin(thing, at=self._clock.now())
        if unsaid is None:
            return False
        log.log(level, what, extra={"fields": {**said, "unsaid": unsaid}})
        return True

    async def _write(self) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            while self._states or self._cases:
                try:
                    await self._write_one()
                except (*DATABASE_AWAY, DomainError) as failure:
                    # Not kept: the next sweep finds out whether the gateway answers.
                    self._tell("a note is lost", ("lost",), {"error": type(failure).__name__})

    async def _write_one(self) -> None:
        if self._states:
            _, (row, answered, at) = self._states.popitem()
            async with unit_of_work(row.group_id) as work:
                await note_gateway(work, gateway_id=row.gateway_id, answered=answered, at=at)
            return
        _, case = self._cases.popitem()
        async with unit_of_work(case.row.group_id) as work:
            await open_case(
                work,
                project_id=case.row.project_id,
                kind=case.kind,
                subject=str(case.row.gateway_id),
                detail=case.detail,
                at=case.at,
            )

    async def _store(self) -> None:
        while True:
            row, sent, at = await self._uploads.get()
            outcome = "stored"
            try:
                if self._inbox is None:
                    outcome = "nobody"
                elif isinstance(sent, Upload):
                    await self._inbox.uploaded(row, sent.address, sent.answer, at)
                else:
                    await self._inbox.reported(row, sent.meter, sent.values, at)
            except (*DATABASE_AWAY, DomainError) as failure:
                outcome = "failed"
                thing = ("upload", row.gateway_id, type(failure))
                self._tell("an upload is lost", thing, {"error": str(failure), **_of(row)})
            DIAL_IN_UPLOADS.labels(link=row.link, outcome=outcome).inc()


def _of(row: DialInRow) -> dict[str, str]:
    return {"gateway": row.serial, "link": row.link}


def _printable(raw: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in raw)
