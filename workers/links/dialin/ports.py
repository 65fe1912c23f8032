"""What a protocol of a dialled-in line says and is told, and what the listener needs from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class DialInRow:
    """Who may dial in: one row of the allow-list.

    `registration`: the bytes by which it names itself. `prefix`: it sends them before every packet, not
    only once. `heartbeat`: its own heartbeat bytes (DTU). `secret`: the 16 characters of an Acrel gateway.
    """

    group_id: int
    gateway_id: UUID
    project_id: UUID
    serial: str
    link: str
    registration: bytes
    prefix: bool = False
    heartbeat: bytes | None = None
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Named:
    """It says who it is, by one of `candidates`, shortest first (a DTU's registration has no end mark:
    every length is one; the longest that is on the list counts). `whole`: no more of it can come. Not
    believed yet."""

    candidates: tuple[bytes, ...]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Registered:
    """It is who it says, as far as its protocol can tell."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It named itself as one of ours and did not prove it. Said to the operator."""

    reason: str


@dataclass(frozen=True, slots=True)
class BusBytes:
    """Bytes of the bus, without anything of the transport."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Upload:
    """A meter's registers, sent unasked: its bus address and the Modbus RTU answer, CRC and all."""

    address: int
    answer: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """A meter's values, sent unasked as text: the sender's name of the meter, and by function name."""

    meter: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that the transport itself must give; nobody else takes part in it."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A whole packet that cannot be read. It is dropped, the line goes on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing sensible can come on this line any more: cut it."""

    reason: str


Event = Named | Registered | Refused | BusBytes | Upload | Report | Reply | Beat | Broken | Gone


class DialInProtocol(Protocol):
    """One connection's side of a transport: pure, no sockets, no clock but the one it is given.

    Order: `received` until it says Named, `admit` with the row found, then (at once or after more
    bytes) Registered; only then `wrap`.
    """

    def received(self, data: bytes, /) -> Sequence[Event]:
        """What these bytes, and those held back before, mean. Never raises."""
        ...

    def admit(self, row: DialInRow, /) -> Sequence[Event]:
        """Go on as `row`, which one of the candidates named. Never raises."""
        ...

    def wrap(self, bus_bytes: bytes, /) -> bytes:
        """Bytes for the bus as they go on this wire; empty while a question is not whole yet.

        Raises FrameError for what this transport cannot carry.
        """
        ...

    @property
    def asking(self) -> bool:
        """Whether a question went out and its answer has not come."""
        ...


class Directory(Protocol):
    """The allow-list."""

    async def find(
        self, link: str, candidates: Sequence[bytes], /, *, whole: bool
    ) -> DialInRow | None:
        """The row whose registration is one of `candidates`, the longest one; None for nobody's.

        Unless `whole`, None too while a longer registration on the list begins with the longest
        candidate: what comes next tells which of the two it is. Raises Unavailable when nothing can be
        told now.
        """
        ...


class Watch(Protocol):
    """Is told what happens. Every method returns at once: what takes time is done elsewhere."""

    def connected(self, row: DialInRow, /, *, replaced: bool) -> None:
        """A line stands; `replaced`: it took the place of another connection of the same id."""
        ...

    def disconnected(self, row: DialInRow, /, *, reason: str) -> None:
        """A line ended and no other took its place."""
        ...

    def unknown(self, link: str, opening: bytes, address: str, /) -> None:
        """Somebody called with a registration that nobody has."""
        ...

    def refused(self, row: DialInRow, address: str, /, *, reason: str) -> None:
        """Somebody called as one of ours and did not prove it."""
        ...

    def turned_away(self, link: str, address: str, /, *, reason: str) -> None:
        """A connection was closed before it named anybody: crowded, silent, too much."""
        ...

    def broken(self, row: DialInRow, /, *, reason: str) -> None:
        """A packet of a registered line could not be read, or the line was cut for what it sent."""
        ...

    def uploaded(self, row: DialInRow, sent: Upload | Report, /) -> None:
        """Values came unasked."""
        ...


class UploadInbox(Protocol):
    """Stores what gateways and meters send unasked."""

    async def uploaded(
        self, gateway: DialInRow, address: int, registers_frame: bytes, at: datetime, /
    ) -> None:
        """Keep the Modbus RTU answer of the meter at `address`, which came at `at`.

        Raises DomainError for what cannot be kept.
        """
        ...

    async def reported(
        self, gateway: DialInRow, meter: str, values: Mapping[str, str], at: datetime, /
    ) -> None:
        """Keep values that an Acrel gateway reports as text (kWh by function name, such as WPP)."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a stranger, and a line, may go. Times in seconds, sizes in bytes.

    `settle_s`: quiet time after which a registration is taken as whole. `owed_s`: how long after a
    question its late answer is waited for before somebody else may ask. Idle: three times the longest
    gap between the last heartbeats, at least `idle_least_s`, `idle_s` when it sends none. The budget is
    what a line may send: `burst` at once, `steady` a second, `grant` more for each question.
    """

    register_s: float = 10.0
    settle_s: float = 0.1
    lookups: int = 8
    strangers: int = 1024
    strangers_of_address: int = 64
    idle_s: float = 600.0
    idle_least_s: float = 30.0
    look_every_s: float = 5.0
    owed_s: float = 6.0
    burst: int = 64 * 1024
    steady: int = 1024
    grant: int = 1024
    unsent: int = 4096
