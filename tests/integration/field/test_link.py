"""A late or surplus answer is never taken for the answer to the next question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from backend.sandbox.embedded.child import free_port
from workers.links.errors import LinkDown, NoAnswer
from workers.links.line import Timing
from workers.links.tcp import TcpLink
from workers.protocols import modbus
from workers.protocols.errors import BadValue, FrameError, WrongUnit
from workers.protocols.framing import asked

QUESTION = modbus.read_registers(unit=1, address=0x0221, count=1)
TIMING = Timing(answer_s=0.1, connect_s=1.0, drain_s=0.3, silence_s=0.0)


def answer(value: int, unit: int = 1) -> bytes:
    return modbus.frame_of(ReadHoldingRegistersResponse(dev_id=unit, registers=[value]))


@dataclass
class Peer:
    """A serial server whose every byte the test decides."""

    link: TcpLink
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    heard: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    async def ask(self) -> int:
        frame = await self.link.exchange(QUESTION.request, QUESTION.expected)
        return int.from_bytes(modbus.registers_of(frame), "big")

    async def hear(self) -> asyncio.StreamWriter:
        """Wait for the next question; the connection it came by is the last one."""
        async with asyncio.timeout(5):
            assert await self.heard.get() == QUESTION.request
        return self.writers[-1]


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
    made = Peer(TcpLink("127.0.0.1", server.sockets[0].getsockname()[1], timing=TIMING))
    yield made
    await made.link.close()
    for writer in made.writers:
        writer.close()
    server.close()


async def _answered(peer: Peer, send: Callable[[asyncio.StreamWriter], None]) -> int:
    asking = asyncio.create_task(peer.ask())
    send(await peer.hear())
    return await asking


async def test_a_late_answer_is_swallowed_and_the_connection_goes_on(peer: Peer) -> None:
    with pytest.raises(NoAnswer):
        await peer.ask()
    first = await peer.hear()
    asking = asyncio.create_task(peer.ask())
    first.write(answer(111))  # late: after the time-out, while the next question waits to be asked
    second = await peer.hear()
    assert second is first
    second.write(answer(222))
    assert await asking == 222


async def test_a_late_answer_in_two_pieces_is_swallowed_whole(peer: Peer) -> None:
    with pytest.raises(NoAnswer):
        await _answered(peer, lambda writer: writer.write(answer(111)[:3]))
    asking = asyncio.create_task(peer.ask())
    peer.writers[-1].write(answer(111)[3:])
    (await peer.hear()).write(answer(222))
    assert await asking == 222
    assert len(peer.writers) == 1


async def test_a_broken_late_answer_ends_the_connection(peer: Peer) -> None:
    with pytest.raises(NoAnswer):
        await peer.ask()
    (await peer.hear()).write(answer(111)[:-1] + b"\x00" + answer(112))
    assert await _answered(peer, lambda writer: writer.write(answer(222))) == 222
    assert len(peer.writers) == 2


async def test_a_question_that_stays_unanswered_dies_with_its_connection(peer: Peer) -> None:
    with pytest.raises(NoAnswer):
        await peer.ask()
    old = await peer.hear()
    asking = asyncio.create_task(peer.ask())
    new = await peer.hear()
    assert new is not old
    old.write(answer(111))  # far too late
    new.write(answer(222))
    assert await asking == 222


async def test_of_two_glued_answers_the_second_is_not_taken_for_the_next_question(
    peer: Peer,
) -> None:
    assert await _answered(peer, lambda writer: writer.write(answer(111) + answer(112))) == 111
    assert await _answered(peer, lambda writer: writer.write(answer(222))) == 222


async def test_an_answer_nobody_asked_for_does_not_wait_for_the_next_question(peer: Peer) -> None:
    assert await _answered(peer, lambda writer: writer.write(answer(111))) == 111
    peer.writers[-1].write(answer(999))
    await peer.writers[-1].drain()
    assert await _answered(peer, lambda writer: writer.write(answer(222))) == 222


async def test_another_units_answer_is_an_error_and_the_next_question_gets_a_new_line(
    peer: Peer,
) -> None:
    with pytest.raises(WrongUnit):
        await _answered(peer, lambda writer: writer.write(answer(111, unit=2)))
    assert await _answered(peer, lambda writer: writer.write(answer(222))) == 222
    assert len(peer.writers) == 2


async def test_a_cancelled_question_does_not_leave_its_answer_to_the_next(peer: Peer) -> None:
    asking = asyncio.create_task(peer.ask())
    old = await peer.hear()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    old.write(answer(111))
    assert await _answered(peer, lambda writer: writer.write(answer(222))) == 222
    assert len(peer.writers) == 2


async def test_a_connection_that_ends_in_mid_question_is_no_answer(peer: Peer) -> None:
    with pytest.raises(NoAnswer):
        await _answered(peer, lambda writer: writer.transport.abort())
    assert await _answered(peer, lambda writer: writer.write(answer(222))) == 222


async def test_a_gateway_that_cannot_be_reached_is_link_down() -> None:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    with pytest.raises(LinkDown):
        await TcpLink("127.0.0.1", port, timing=TIMING).exchange(
            QUESTION.request, QUESTION.expected
        )


async def _questions(values: list[int | type[Exception]], count: int) -> None:
    """A script that asks `count` times; what comes goes into `values`, a failure by its kind."""
    for _ in range(count):
        try:
            frame = await asked(QUESTION.request, QUESTION.expected)
        except (LinkDown, NoAnswer, FrameError) as failure:
            values.append(type(failure))
        else:
            values.append(int.from_bytes(modbus.registers_of(frame), "big"))


async def test_a_script_gets_each_answer_and_nothing_that_comes_before_its_next_question(
    peer: Peer,
) -> None:
    values: list[int | type[Exception]] = []
    playing = asyncio.create_task(peer.link.play(_questions(values, 3)))
    for value in (1, 2, 3):
        (await peer.hear()).write(answer(value) + answer(99))
    await playing
    assert values == [1, 2, 3]
    assert len(peer.writers) == 1


async def test_stray_bytes_between_two_questions_of_a_script_are_thrown_away_and_make_it_wait(
    peer: Peer,
) -> None:
    peer.link = TcpLink(
        "127.0.0.1",
        peer.link._port,
        timing=Timing(answer_s=5.0, connect_s=1.0, drain_s=0.3, silence_s=0.2),
    )
    values: list[int | type[Exception]] = []
    answered = asyncio.Event()

    async def script() -> None:
        await _questions(values, 1)
        answered.set()
        await _questions(values, 1)

    playing = asyncio.create_task(peer.link.play(script()))
    line = await peer.hear()
    line.write(answer(1))
    await answered.wait()
    assert peer.heard.empty(), "the bus has to be silent first"
    line.write(answer(99))
    (await peer.hear()).write(answer(2))
    await playing
    assert values == [1, 2]


async def test_a_script_goes_on_after_a_time_out_a_broken_answer_and_a_lost_connection(
    peer: Peer,
) -> None:
    values: list[int | type[Exception]] = []
    playing = asyncio.create_task(peer.link.play(_questions(values, 5)))
    await peer.hear()  # and say nothing
    (await peer.hear()).write(answer(2, unit=2))
    (await peer.hear()).write(answer(3))
    (await peer.hear()).transport.abort()
    (await peer.hear()).write(answer(5))
    await playing
    assert values == [NoAnswer, WrongUnit, 3, NoAnswer, 5]


async def test_a_script_is_told_when_no_connection_can_be_made() -> None:
    values: list[int | type[Exception]] = []
    link = TcpLink("127.0.0.1", free_port(), timing=TIMING)
    await link.play(_questions(values, 2))
    assert values == [LinkDown, LinkDown]


async def test_an_error_of_the_script_itself_is_told_and_costs_no_connection(peer: Peer) -> None:
    async def refuse() -> None:
        await asked(QUESTION.request, QUESTION.expected)
        raise BadValue("what it says cannot be")

    playing = asyncio.create_task(peer.link.play(refuse()))
    (await peer.hear()).write(answer(1))
    with pytest.raises(BadValue):
        await playing
    assert await _answered(peer, lambda writer: writer.write(answer(2))) == 2
    assert len(peer.writers) == 1


async def test_a_cancelled_script_asks_no_more_and_leaves_no_answer_to_the_next(peer: Peer) -> None:
    values: list[int | type[Exception]] = []
    playing = asyncio.create_task(peer.link.play(_questions(values, 3)))
    (await peer.hear()).write(answer(1))
    old = await peer.hear()
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    old.write(answer(2))
    assert await _answered(peer, lambda writer: writer.write(answer(3))) == 3
    assert values == [1]
    assert len(peer.writers) == 2
