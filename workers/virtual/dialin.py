"""Virtual boxes that dial in: a DTU, an Acrel 4G meter, an Acrel gateway.

Each connects to a server's host:port and carries a bus that listens somewhere (a VirtualGateway): what
the server asks goes to that bus, what the bus answers goes back in the box's own wrapping. They differ
from real boxes in that a test decides when a heartbeat goes out and how packets are cut.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from workers.links.dialin import acrel_gateway_packets as packets
from workers.links.dialin.acrel_gateway_packets import Kind
from workers.protocols import acrel4g, modbus
from workers.protocols.acrel4g import Cmd

HostPort = tuple[str, int]
_BUS_WAIT_S = 3.0
_SIGNAL, _FIRMWARE, _EVERY_MIN = 26, ("0100", "0100", "0100"), 30


class _Caller(ABC):
    """One connection to the server and one to the bus. `ended`: the server's is gone."""

    def __init__(self, *, server: HostPort, bus: HostPort) -> None:
        self._server = server
        self._bus = bus
        self._writer: asyncio.StreamWriter | None = None
        self._bus_writer: asyncio.StreamWriter | None = None
        self._bus_reader: asyncio.StreamReader | None = None
        self._task: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()

    async def dial(self) -> None:
        """Connect and name itself. Raises OSError when nobody listens."""
        await self.hang_up()
        self.ended.clear()
        self._bus_reader, self._bus_writer = await asyncio.open_connection(*self._bus)
        reader, self._writer = await asyncio.open_connection(*self._server)
        self._task = asyncio.create_task(self._listen(reader))
        self._begin()

    async def hang_up(self) -> None:
        """Drop both connections."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        for writer in (self._writer, self._bus_writer):
            if writer is not None:
                writer.close()

    async def run(self, *, redial_s: float, beat_s: float) -> None:
        """Dial, beat every `beat_s`, dial again `redial_s` after a loss; until cancelled."""
        try:
            while True:
                try:
                    await self.dial()
                    await self._stay(beat_s)
                except OSError:
                    pass  # nobody listens there now
                await asyncio.sleep(redial_s)
        finally:
            await self.hang_up()

    async def _stay(self, beat_s: float) -> None:
        while not self.ended.is_set():
            try:
                async with asyncio.timeout(beat_s):
                    await self.ended.wait()
            except TimeoutError:
                self.beat()

    def send(self, raw: bytes) -> None:
        """Write these very bytes to the server."""
        assert self._writer is not None, "dial first"
        self._writer.write(raw)

    @abstractmethod
    def beat(self) -> None:
        """Send a heartbeat."""

    @abstractmethod
    def _begin(self) -> None: ...

    @abstractmethod
    async def _heard(self, data: bytes) -> None: ...

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(4096):
                await self._heard(data)
        except OSError:
            pass  # the server cut it
        finally:
            self.ended.set()

    async def ask_bus(self, request: bytes) -> bytes | None:
        """The answer of the bus to one Modbus question, or None when it is silent."""
        assert self._bus_writer is not None, "dial first"
        assert self._bus_reader is not None, "dial first"
        expected = modbus.ask(modbus.parse_request(request)).expected
        self._bus_writer.write(request)
        buffer = b""
        try:
            async with asyncio.timeout(_BUS_WAIT_S):
                while data := await self._bus_reader.read(4096):
                    frame, buffer = expected.take(buffer + data)
                    if frame is not None:
                        return frame
        except TimeoutError:
            pass  # as on a real bus
        return None


@dataclass(slots=True)
class Packing:
    """How a DTU cuts its packets: bytes glued `before` and `after` every answer, and the size of the
    `pieces` in which all of it goes out (0: whole)."""

    before: bytes = b""
    after: bytes = b""
    pieces: int = 0


class VirtualDtu(_Caller):
    """A transparent DTU: registration (once, or as `prefix` of every packet too), heartbeats, bytes.
    `asked`: something for the bus came."""

    def __init__(
        self,
        *,
        server: HostPort,
        bus: HostPort,
        registration: bytes,
        heartbeat: bytes = b"ping",
        prefix: bool = False,
    ) -> None:
        super().__init__(server=server, bus=bus)
        self._registration = registration
        self._heartbeat = heartbeat
        self._prefix = prefix
        self._serial_side: asyncio.Task[None] | None = None
        self.packing = Packing()
        self.asked = asyncio.Event()
        self._in_pieces = False
        self._held = 0  # heartbeats that wait for the end of a packet in pieces

    async def dial(self) -> None:
        """See _Caller.dial."""
        await super().dial()
        self._serial_side = asyncio.create_task(self._carry_answers())

    async def hang_up(self) -> None:
        """See _Caller.hang_up."""
        if self._serial_side is not None:
            self._serial_side.cancel()
            await asyncio.gather(self._serial_side, return_exceptions=True)
            self._serial_side = None
        await super().hang_up()

    def beat(self) -> None:
        """Send the heartbeat bytes; behind a packet that is on its way in pieces, for it is the line that
        cuts and not the box."""
        if self._in_pieces:
            self._held += 1
        else:
            self.send(self._heartbeat)

    def _begin(self) -> None:
        self.send(self._registration)

    async def _heard(self, data: bytes) -> None:
        assert self._bus_writer is not None, "dial first"
        self._bus_writer.write(data)
        self.asked.set()

    async def _carry_answers(self) -> None:
        assert self._bus_reader is not None, "dial first"
        try:
            while data := await self._bus_reader.read(4096):
                head = self._registration if self._prefix else b""
                await self._send_pieces(self.packing.before + head + data + self.packing.after)
        except OSError:
            pass  # the bus or the server is gone

    async def _send_pieces(self, raw: bytes) -> None:
        size = self.packing.pieces or len(raw)
        self._in_pieces = True
        try:
            for at in range(0, len(raw), size):
                self.send(raw[at : at + size])
                await asyncio.sleep(0.001 if self.packing.pieces else 0)
        finally:
            self._in_pieces = False
        self.send(self._heartbeat * self._held)
        self._held = 0


class Virtual4gMeter(_Caller):
    """An Acrel 4G meter: 84 at first, 90 for questions, 91 by `upload`, 93 by `ask_time`."""

    def __init__(self, *, server: HostPort, bus: HostPort, serial: str) -> None:
        super().__init__(server=server, bus=bus)
        self._serial = serial
        self._buffer = b""
        self.accepted = asyncio.Event()
        self.stored = asyncio.Event()
        self.times: asyncio.Queue[str] = asyncio.Queue()

    def beat(self) -> None:
        """Send 94."""
        self.send(acrel4g.Packet(Cmd.HEARTBEAT).encode())

    def ask_time(self) -> None:
        """Send 93; the answer comes into `times`."""
        body = self._serial.encode().ljust(20, b"\0")
        self.send(acrel4g.Packet(Cmd.TIME, body).encode())

    async def upload(self, *, unit: int, address: int = 0x0200, count: int = 48) -> bytes:
        """Read the bus as the meter's own timer does and send 91; gives the Modbus answer sent."""
        question = modbus.read_registers(unit=unit, address=address, count=count)
        answer = await self.ask_bus(question.request)
        assert answer is not None, "no such meter on the virtual bus"
        section = acrel4g.Section(str(unit), answer)
        body = acrel4g.DataUpload(self._serial, (section,)).encode()
        self.send(acrel4g.Packet(Cmd.DATA, body).encode())
        return answer

    def _begin(self) -> None:
        self._buffer = b""
        self.accepted.clear()
        registration = acrel4g.Registration(
            self._serial, "89860428221900423610", _SIGNAL, _FIRMWARE, _EVERY_MIN
        )
        self.send(acrel4g.Packet(Cmd.REGISTER, registration.encode()).encode())

    async def _heard(self, data: bytes) -> None:
        self._buffer += data
        while True:
            packet, self._buffer = acrel4g.take_packet(self._buffer)
            if packet is None:
                return
            match packet.command:
                case Cmd.REGISTER:
                    self.accepted.set()
                case Cmd.DATA:
                    self.stored.set()
                case Cmd.TIME:
                    self.times.put_nowait(acrel4g.parse_time(packet.body)[0])
                case Cmd.TRANSPARENT:
                    answer = await self.ask_bus(packet.body)
                    if answer is not None:
                        head = [self._serial]
                        self.send(acrel4g.transparent(answer, serials=head).encode())


class VirtualAcrelGateway(_Caller):
    """An Acrel gateway: proves its secret, answers F1, reports by `report`."""

    def __init__(self, *, server: HostPort, bus: HostPort, gateway_id: str, secret: str) -> None:
        super().__init__(server=server, bus=bus)
        self._gateway_id = gateway_id
        self._secret = secret
        self._buffer = b""
        self.results: asyncio.Queue[str] = asyncio.Queue()
        self.times: asyncio.Queue[str] = asyncio.Queue()

    def beat(self) -> None:
        """Send 02; the answer comes into `times`."""
        inside = '<heart_beat operation="notify"/>'
        self.send(packets.packet(Kind.HEARTBEAT, self._xml("heart_beat", inside)))

    def report(self, *, meter: str, values: Mapping[str, str], deflated: bool = False) -> None:
        """Send 03, or 04 when `deflated`, with the values of one meter."""
        functions = "".join(
            f'<function id="{name}">{value}</function>' for name, value in values.items()
        )
        inside = f'<data><time>20261122120000</time><meter id="{meter}">{functions}</meter></data>'
        xml = self._xml("energy_data", inside)
        plain, kind = (zlib.compress(xml), Kind.DEFLATED_DATA) if deflated else (xml, Kind.DATA)
        self.send(packets.packet(kind, packets.encrypt(plain, secret=self._secret)))

    def _begin(self) -> None:
        self._buffer = b""
        self._validate('<id_validate operation="request"/>')

    def _validate(self, inside: str) -> None:
        self.send(packets.packet(Kind.AUTHENTICATE, self._xml("id_validate", inside)))

    def _xml(self, kind: str, inside: str) -> bytes:
        return packets.common_xml(building="B1", gateway=self._gateway_id, kind=kind, inside=inside)

    async def _heard(self, data: bytes) -> None:
        self._buffer += data
        while True:
            taken, self._buffer = packets.take_packet(self._buffer, most=65_536)
            if taken is None:
                return
            kind, inside = taken
            if kind == Kind.DOWNLINK:
                await self._pass_on(packets.decrypt(inside, secret=self._secret).decode())
            else:
                self._server_says(packets.read_xml(inside))

    def _server_says(self, elements: list[packets.Element]) -> None:
        if sequence := packets.text_of(elements, "id_validate", "sequence"):
            proof = hashlib.md5((self._secret + sequence).encode(), usedforsecurity=False)
            answer = f"<md5>{proof.hexdigest()}</md5>"
            self._validate(f'<id_validate operation="md5">{answer}</id_validate>')
        if result := packets.text_of(elements, "id_validate", "result"):
            self.results.put_nowait(result)
        if time := packets.text_of(elements, "heart_beat", "time"):
            self.times.put_nowait(time)

    async def _pass_on(self, text: str) -> None:
        name, _, digits = text.partition("|")
        answer = await self.ask_bus(bytes.fromhex(digits))
        if answer is not None:
            sealed = packets.encrypt(f"{name}|{answer.hex()}".encode(), secret=self._secret)
            self.send(packets.packet(Kind.DOWNLINK_ANSWER, sealed))
