"""A late or surplus answer is never taken for the answer to the next question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from workers.links.errors import LinkDown, NoAnswer
from workers.links.tcp import TcpLink, Timing
from workers.protocols import modbus
from workers.protocols.errors import WrongUnit

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
    asked = asyncio.create_task(peer.ask())
    send(await peer.hear())
    return await asked


async def test_a_late_answer_is_swallowed_and_the_connection_goes_on(peer: Peer) -> None:
    with pytest.raises(NoAnswer):
        await peer.ask()
    first = await peer.hear()
    asked = asyncio.create_task(peer.ask())
    first.write(answer(111))  # late: after the time-out, while the next question waits to be asked
    second = await peer.hear()
    assert second is first
    second.write(answer(222))
    assert await asked == 222


async def test_a_late_answer_in_two_pieces_is_swallowed_whole(peer: Peer) -> None:
    with pytest.raises(NoAnswer):
        await _answered(peer, lambda writer: writer.write(answer(111)[:3]))
    asked = asyncio.create_task(peer.ask())
    peer.writers[-1].write(answer(111)[3:])
    (await peer.hear()).write(answer(222))
    assert await asked == 222
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
    asked = asyncio.create_task(peer.ask())
    new = await peer.hear()
    assert new is not old
    old.write(answer(111))  # far too late
    new.write(answer(222))
    assert await asked == 222


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
    asked = asyncio.create_task(peer.ask())
    old = await peer.hear()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
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
