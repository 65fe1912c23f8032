"""Modbus TCP: late answers are known by their number, and a line waits as long as its answers take."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from backend.sandbox.embedded.child import free_port
from workers.links.errors import NoAnswer
from workers.links.line import Patience, Timing
from workers.links.mbap import MbapFraming
from workers.links.tcp import TcpLink
from workers.protocols import modbus
from workers.protocols.errors import FrameError, MeterRefused
from workers.protocols.framing import asked

QUESTION = modbus.read_registers(unit=1, address=0x0221, count=1)
TIMING = Timing(answer_s=0.2, least_s=0.05, connect_s=1.0)


@dataclass
class Peer:
    """A Modbus TCP gateway whose every byte the test decides."""

    link: TcpLink
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    heard: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    async def ask(self) -> int:
        frame = await self.link.exchange(QUESTION.request, QUESTION.expected)
        return int.from_bytes(modbus.registers_of(frame), "big")

    async def hear(self) -> int:
        """Wait for the next question and give its number."""
        async with asyncio.timeout(5):
            question = await self.heard.get()
        number, protocol, size = (int(n) for n in struct.unpack(">HHH", question[:6]))
        assert (protocol, size, question[6:]) == (0, 6, QUESTION.request[:-2])
        return number

    def answer(self, number: int, value: int, *, unit: int = 1) -> None:
        body = bytes([unit, 3, 2]) + value.to_bytes(2, "big")
        self.writers[-1].write(struct.pack(">HHH", number, 0, len(body)) + body)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.writers.append(writer)
        try:
            while data := await reader.read(100):
                made.heard.put_nowait(data)
        except ConnectionError:
            pass

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = Peer(TcpLink("127.0.0.1", port, timing=TIMING, numbered=True))
    yield made
    await made.link.close()
    for writer in made.writers:
        writer.close()
    server.close()


async def test_an_answer_is_taken_by_its_number(peer: Peer) -> None:
    asked = asyncio.create_task(peer.ask())
    number = await peer.hear()
    peer.answer(number - 1, 999)
    peer.answer(number, 111)
    assert await asked == 111


async def test_a_late_answer_is_passed_over_and_the_connection_goes_on(peer: Peer) -> None:
    with pytest.raises(NoAnswer):
        await peer.ask()
    late = await peer.hear()
    asked = asyncio.create_task(peer.ask())
    number = await peer.hear()
    peer.answer(late, 999)
    peer.answer(number, 222)
    assert await asked == 222
    assert len(peer.writers) == 1


async def test_an_answer_torn_in_pieces_is_put_together(peer: Peer) -> None:
    asked = asyncio.create_task(peer.ask())
    number = await peer.hear()
    whole = struct.pack(">HHH", number, 0, 5) + bytes([1, 3, 2, 1, 44])
    for at in range(len(whole)):
        peer.writers[-1].write(whole[at : at + 1])
        await peer.writers[-1].drain()
    assert await asked == 300


@pytest.mark.parametrize(
    "wrong", [b"\x00\x01\x00\x07\x00\x05\x01\x03", b"\x00\x01\x00\x00\xff\xff\x01\x03"]
)
async def test_what_is_not_modbus_tcp_ends_the_connection(peer: Peer, wrong: bytes) -> None:
    asked = asyncio.create_task(peer.ask())
    await peer.hear()
    peer.writers[-1].write(wrong)
    with pytest.raises(FrameError):
        await asked
    asked = asyncio.create_task(peer.ask())
    peer.answer(await peer.hear(), 5)
    assert await asked == 5
    assert len(peer.writers) == 2


async def test_another_units_answer_under_the_right_number_is_refused(peer: Peer) -> None:
    asked = asyncio.create_task(peer.ask())
    peer.answer(await peer.hear(), 111, unit=2)
    with pytest.raises(FrameError):
        await asked


async def test_two_questions_at_once_on_one_line_are_a_programming_error(peer: Peer) -> None:
    asked = asyncio.create_task(peer.ask())
    number = await peer.hear()
    with pytest.raises(RuntimeError):
        await peer.ask()
    peer.answer(number, 7)
    assert await asked == 7


async def test_a_foreign_gateway_is_read_and_its_refusal_is_the_meters() -> None:
    device = SimDevice(1, simdata=[SimData(0x0221, values=[17], datatype=DataType.REGISTERS)])
    port = free_port()
    server = ModbusTcpServer(device, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    link = TcpLink("127.0.0.1", port, numbered=True)
    try:
        frame = await link.exchange(QUESTION.request, QUESTION.expected)
        assert modbus.registers_of(frame) == b"\x00\x11"
        absent = modbus.read_registers(unit=1, address=0x4000, count=2)
        with pytest.raises(MeterRefused) as refused:
            modbus.registers_of(await link.exchange(absent.request, absent.expected))
        assert refused.value.refusal == 2
    finally:
        await link.close()
        await server.shutdown()  # type: ignore[no-untyped-call] # pymodbus does not type it


async def test_every_question_has_its_own_time_though_one_timer_serves_them(peer: Peer) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(3):
        asked = asyncio.create_task(peer.ask())
        peer.answer(await peer.hear(), 1)
        await asked
    before = loop.time()
    with pytest.raises(NoAnswer):
        await peer.ask()
    assert TIMING.least_s <= loop.time() - before < 1


async def test_a_script_passes_over_late_and_glued_answers_and_takes_its_own(peer: Peer) -> None:
    values: list[int | None] = []

    async def script() -> None:
        for _ in range(4):
            try:
                frame = await asked(QUESTION.request, QUESTION.expected)
            except NoAnswer:
                values.append(None)
            else:
                values.append(int.from_bytes(modbus.registers_of(frame), "big"))

    playing = asyncio.create_task(peer.link.play(script()))
    late = await peer.hear()  # and say nothing
    number = await peer.hear()
    peer.answer(late, 999)
    peer.answer(number, 2)
    third = await peer.hear()
    body = bytes([1, 3, 2, 0, 3])
    own = struct.pack(">HHH", third, 0, len(body)) + body
    peer.writers[-1].write(own + own)  # said twice in one breath
    fourth = await peer.hear()
    peer.answer(third, 999)
    peer.answer(fourth, 4)
    await playing
    assert values == [None, 2, 3, 4]
    assert len(peer.writers) == 1


def test_no_flipped_bit_of_a_header_is_taken_for_the_answer() -> None:
    """Modbus TCP has no check of its own: number, protocol, size, unit, function and byte count are it."""
    asking = modbus.read_registers(unit=7, address=0x0200, count=48)
    right = struct.pack(">HHHBBB", 1, 0, 99, 7, 3, 96) + bytes(96)
    for place in range(9):
        for bit in range(8):
            framing = MbapFraming()
            framing.dress(asking.request, asking.expected)
            spoiled = bytearray(right)
            spoiled[place] ^= 1 << bit
            with suppress(FrameError):
                frame, _ = framing.take(asking.expected, bytes(spoiled))
                assert frame is None, f"bit {bit} of byte {place}"
    framing = MbapFraming()
    framing.dress(asking.request, asking.expected)
    frame, rest = framing.take(asking.expected, right)
    assert frame is not None
    assert (modbus.registers_of(frame), rest) == (bytes(96), b"")


@pytest.mark.parametrize("cut", [1, 8, 50, 104])
def test_an_answer_without_its_end_or_with_too_much_is_no_whole_answer(cut: int) -> None:
    asking = modbus.read_registers(unit=7, address=0x0200, count=48)
    right = struct.pack(">HHHBBB", 1, 0, 99, 7, 3, 96) + bytes(range(96))
    framing = MbapFraming()
    framing.dress(asking.request, asking.expected)
    assert framing.take(asking.expected, right[:cut]) == (None, right[:cut])
    frame, rest = framing.take(asking.expected, right + right[:cut])
    assert frame is not None
    assert (modbus.registers_of(frame), rest) == (bytes(range(96)), right[:cut])


async def test_the_timer_of_an_old_question_does_not_lengthen_the_time_of_a_new_one() -> None:
    """While little is known of a line a question may take long; once it answers quickly, one may not."""
    writers: list[asyncio.StreamWriter] = []
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while data := await reader.read(100):
            heard.put_nowait(data)

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    timing = Timing(answer_s=60.0, least_s=0.05, connect_s=5.0)
    link = TcpLink("127.0.0.1", server.sockets[0].getsockname()[1], timing=timing, numbered=True)
    loop = asyncio.get_running_loop()
    body = bytes([1, 3, 2, 0, 3])
    try:
        asking = asyncio.create_task(link.exchange(QUESTION.request, QUESTION.expected))
        number = await heard.get()
        whole = number[:2] + struct.pack(">HH", 0, len(body)) + body
        loop.call_later(0.2, writers[0].write, whole)  # the timer has looked at it by then
        await asking
        async with asyncio.timeout(20):
            with pytest.raises(NoAnswer):
                await link.exchange(QUESTION.request, QUESTION.expected)
    finally:
        await link.close()
        server.close()


def test_patience_follows_how_long_answers_take_and_stays_in_its_bounds() -> None:
    patience = Patience(least_s=0.3, most_s=3.0)
    assert patience.seconds == 3.0, "nothing is known yet"
    for _ in range(50):
        patience.answered(0.01)
    assert patience.seconds == 0.3
    patience.exhausted()
    assert patience.seconds == 0.6
    for _ in range(200):
        patience.answered(0.5)
    assert 0.5 < patience.seconds < 0.7
    for _ in range(10):
        patience.exhausted()
    assert patience.seconds == 3.0
