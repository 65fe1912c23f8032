"""A serial line of this machine: real terminals (pseudo ones), every byte on them decided by the test."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import uvloop

from workers.links.errors import LinkDown, NoAnswer
from workers.links.serial import EchoHeard, SerialLink
from workers.links.serial_port import Parity, SerialPort, close_port, control_flags, open_port
from workers.protocols.errors import CrcError, WrongUnit
from workers.protocols.framing import asked

from .test_link import QUESTION, answer

ASKED = QUESTION.request


@dataclass
class Wire:
    """The other end of a serial port. `heard` is what came; the plug stays in until `pull`."""

    end: int
    plug: int
    port: SerialPort
    link: SerialLink
    heard: bytes = b""

    def again(self, *, answer_s: float = 0.3, drain_s: float = 0.2, **other: Any) -> None:
        """Use the port with other settings."""
        self.port = replace(self.port, **other)
        self.link = SerialLink(self.port, answer_s=answer_s, drain_s=drain_s)

    async def ask(self) -> int:
        frame = await self.link.exchange(ASKED, QUESTION.expected)
        return int.from_bytes(frame[3:5], "big")

    async def hear(self) -> None:
        """Wait for one whole question."""
        readable = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.end, readable.set)
        async with asyncio.timeout(5):
            while len(self.heard) < len(ASKED):
                await readable.wait()
                readable.clear()
                self.heard += os.read(self.end, 4096)
        loop.remove_reader(self.end)
        assert self.heard == ASKED
        self.heard = b""

    def say(self, data: bytes) -> None:
        os.write(self.end, data)

    async def answered(self, *pieces: bytes) -> int:
        """Ask, and let the answer come in these pieces."""
        asking = asyncio.create_task(self.ask())
        await self.hear()
        for piece in pieces:
            self.say(piece)
            await asyncio.sleep(0)
        return await asking

    def pull(self) -> None:
        if self.end >= 0:
            os.close(self.end)
            os.close(self.plug)
        self.end = self.plug = -1


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    made = plugged()
    yield made
    await made.link.close()
    made.pull()


def plugged() -> Wire:
    """A wire with a fresh port at its end, at a speed whose silence is short."""
    end, plug = os.openpty()
    tty.setraw(plug)
    port = SerialPort(os.ttyname(plug), 115200, "none")
    return Wire(end, plug, port, SerialLink(port, answer_s=0.3, drain_s=0.2))


async def test_a_question_is_answered_whole_or_in_pieces(wire: Wire) -> None:
    whole = answer(258)
    assert await wire.answered(whole) == 258
    assert await wire.answered(whole[:1], whole[1:4], whole[4:]) == 258


async def test_the_port_is_raw_at_its_speed_and_never_hangs_up(wire: Wire) -> None:
    wire.again(baud=2400, parity="even", stop_bits=2)
    await wire.answered(answer(1))
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = termios.tcgetattr(wire.plug)
    assert ispeed == ospeed == termios.B2400
    assert (oflag, lflag) == (0, 0)
    assert (characters[termios.VMIN], characters[termios.VTIME]) == (1, 0)
    assert iflag == termios.IGNBRK | termios.IGNPAR | termios.INPCK
    assert cflag & (termios.HUPCL | termios.CRTSCTS) == 0
    assert cflag & (termios.CSIZE | termios.CSTOPB) == termios.CS8 | termios.CSTOPB


@pytest.mark.parametrize(
    ("parity", "flags"),
    [("none", 0), ("even", termios.PARENB), ("odd", termios.PARENB | termios.PARODD)],
)
def test_parity_is_asked_for_as_the_site_file_says(parity: Parity, flags: int) -> None:
    """Of a port: a pseudo terminal has no parity."""
    asked_for = control_flags(SerialPort("/dev/ttyS1", 9600, parity))
    assert asked_for & (termios.PARENB | termios.PARODD) == flags


@pytest.mark.parametrize(
    ("baud", "parity", "silence_ms"),
    [(1200, "even", 32.08), (9600, "none", 3.65), (19200, "none", 1.82), (38400, "none", 1.75)],
)
def test_frames_are_three_and_a_half_characters_apart(
    baud: int, parity: Parity, silence_ms: float
) -> None:
    port = SerialPort("/dev/ttyS1", baud, parity)
    assert round(port.silence_s * 1000, 2) == silence_ms


async def test_a_question_waits_until_the_line_has_been_silent(wire: Wire) -> None:
    wire.again(baud=1200)
    assert await wire.answered(answer(1)) == 1
    wire.say(b"\x00")  # a stray byte, and from it on the line has to be silent
    began = asyncio.get_running_loop().time()
    asking = asyncio.create_task(wire.ask())
    await wire.hear()
    assert asyncio.get_running_loop().time() - began >= 3.5 * 10 / 1200
    wire.say(answer(2))
    assert await asking == 2


@pytest.mark.parametrize("noise", [b"\x00", b"\xff\x00\xff", b"\x01", b"\x01\x03", b"\xfe" * 8])
async def test_noise_before_an_answer_is_passed_over(wire: Wire, noise: bytes) -> None:
    assert await wire.answered(noise + answer(7)) == 7
    asking = asyncio.create_task(wire.ask())
    await wire.hear()
    wire.say(noise)
    asyncio.get_running_loop().call_later(0.03, wire.say, answer(8))
    assert await asking == 8


async def test_noise_before_a_question_is_thrown_away(wire: Wire) -> None:
    assert await wire.answered(answer(1)) == 1
    wire.say(b"\x00\xff" + answer(99))
    assert await wire.answered(answer(2)) == 2


async def test_a_broken_answer_is_told_as_such_and_what_follows_it_belongs_to_nobody(
    wire: Wire,
) -> None:
    broken = answer(1)[:-1] + b"\x00"
    with pytest.raises(CrcError):
        await wire.answered(broken)
    wire.say(answer(99))  # in the time in which nobody asks
    assert await wire.answered(answer(2)) == 2
    with pytest.raises(WrongUnit):
        await wire.answered(answer(99, unit=2))
    assert await wire.answered(answer(3)) == 3


async def test_a_cut_answer_is_no_answer_and_its_rest_is_not_taken_for_the_next(wire: Wire) -> None:
    with pytest.raises(NoAnswer):
        await wire.answered(answer(99)[:4])
    asking = asyncio.create_task(wire.ask())
    wire.say(answer(99)[4:])
    await wire.hear()
    wire.say(answer(2))
    assert await asking == 2


async def test_a_late_answer_is_swallowed_before_the_next_question(wire: Wire) -> None:
    with pytest.raises(NoAnswer):
        await wire.answered()
    asking = asyncio.create_task(wire.ask())
    wire.say(answer(99))
    await wire.hear()
    wire.say(answer(2))
    assert await asking == 2


async def test_after_silence_nothing_is_asked_until_a_late_answer_would_have_come(
    wire: Wire,
) -> None:
    wire.again(drain_s=0.3)
    with pytest.raises(NoAnswer):
        await wire.answered()
    began = asyncio.get_running_loop().time()
    assert await wire.answered(answer(2)) == 2
    assert asyncio.get_running_loop().time() - began >= 0.28


async def test_a_late_answer_that_comes_broken_makes_the_next_question_wait_again(
    wire: Wire,
) -> None:
    wire.again(drain_s=0.6)
    with pytest.raises(NoAnswer):
        await wire.answered()
    loop = asyncio.get_running_loop()
    began = loop.time()
    loop.call_later(0.2, wire.say, b"\x02" * 12)
    assert await wire.answered(answer(2)) == 2
    assert loop.time() - began >= 0.78


async def test_the_time_of_the_question_on_the_wire_is_no_time_to_think(wire: Wire) -> None:
    wire.again(baud=1200, answer_s=0.1)
    began = asyncio.get_running_loop().time()
    with pytest.raises(NoAnswer):
        await wire.answered()
    assert asyncio.get_running_loop().time() - began >= 0.1 + len(ASKED) * 10 / 1200


async def test_a_cancelled_question_does_not_leave_its_answer_to_the_next(wire: Wire) -> None:
    asking = asyncio.create_task(wire.ask())
    await wire.hear()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    asking = asyncio.create_task(wire.ask())
    await asyncio.sleep(0)
    wire.say(answer(99))
    await wire.hear()
    wire.say(answer(2))
    assert await asking == 2


async def test_a_cancelled_script_asks_no_more(wire: Wire) -> None:
    wire.again(baud=1200, answer_s=0.5)
    first = asyncio.Event()

    async def script() -> None:
        await asked(ASKED, QUESTION.expected)
        first.set()
        await asked(b"never", QUESTION.expected)

    playing = asyncio.create_task(wire.link.play(script()))
    await wire.hear()
    wire.say(answer(1))
    await first.wait()
    playing.cancel()  # in the silence before its second question
    await asyncio.gather(playing, return_exceptions=True)
    assert await wire.answered(answer(2)) == 2


async def test_a_slow_answer_that_has_begun_may_end(wire: Wire) -> None:
    """At 1200 baud a long answer takes longer than a meter may think."""
    wire.again(answer_s=0.1)
    asking = asyncio.create_task(wire.ask())
    await wire.hear()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for place, byte in enumerate(answer(5)):
        loop.call_later(0.05 * (place + 1), wire.say, bytes([byte]))
    assert await asking == 5
    assert loop.time() - began > 0.3


async def test_the_echo_of_an_adapter_is_taken_off(wire: Wire) -> None:
    wire.again(echo=True)
    assert await wire.answered(ASKED + answer(4)) == 4
    assert await wire.answered(ASKED[:3], ASKED[3:] + answer(5)[:2], answer(5)[2:]) == 5
    with pytest.raises(NoAnswer) as silent:
        await wire.answered(ASKED)
    assert "echo" not in silent.value.message, "the adapter did its part: it is the meter"


async def test_an_echo_is_never_taken_for_the_answer(wire: Wire) -> None:
    with pytest.raises(EchoHeard, match="set echo = true"):
        await wire.answered(ASKED + answer(4))


async def test_who_expects_an_echo_where_there_is_none_is_told(wire: Wire) -> None:
    wire.again(echo=True)
    with pytest.raises(EchoHeard, match="does this adapter give one"):
        await wire.answered(answer(4))
    with pytest.raises(NoAnswer, match="no echo"):
        await wire.answered()


class Touchy(SerialPort):
    """Wants a silence longer than it takes to notice a byte."""

    least_s: ClassVar[float] = 0.02

    @property
    def silence_s(self) -> float:
        return self.least_s


class Touchier(Touchy):
    """Wants one longer than a busy machine makes by itself."""

    least_s = 0.5


async def test_a_line_that_is_never_silent_says_what_to_look_at(wire: Wire) -> None:
    port = wire.port
    wire.link = SerialLink(Touchier(port.device, port.baud, port.parity))
    asking = asyncio.create_task(wire.ask())
    async with asyncio.timeout(20):
        while not asking.done():
            wire.say(b"\x00")
            await asyncio.sleep(0)
    with pytest.raises(LinkDown, match="wires A and B"):
        await asking


async def test_a_port_pulled_out_in_mid_question_is_no_answer_and_then_not_there(
    wire: Wire,
) -> None:
    asking = asyncio.create_task(wire.ask())
    await wire.hear()
    wire.pull()
    with pytest.raises(NoAnswer):
        await asking
    for _ in range(2):
        with pytest.raises(LinkDown, match=f"{wire.port.device} is not there: is the adapter"):
            await wire.ask()


async def test_a_script_is_played_on_a_wire_as_on_a_connection(wire: Wire) -> None:
    values: list[object] = []

    async def script() -> None:
        for _ in range(4):
            try:
                frame = await asked(ASKED, QUESTION.expected)
                values.append(int.from_bytes(frame[3:5], "big"))
            except (NoAnswer, WrongUnit, LinkDown) as failure:
                values.append(type(failure))

    playing = asyncio.create_task(wire.link.play(script()))
    for said in (answer(1), b"", answer(3, unit=2), answer(4)):
        await wire.hear()
        wire.say(said)
    await playing
    assert values == [1, NoAnswer, WrongUnit, 4]


async def test_a_line_has_one_speaker_and_the_next_may_come_when_it_has_gone(wire: Wire) -> None:
    assert await wire.answered(answer(1)) == 1
    other = SerialLink(wire.port, answer_s=0.1)
    with pytest.raises(LinkDown, match="in use by another program"):
        await other.exchange(ASKED, QUESTION.expected)
    await wire.link.close()
    wire.link = other
    assert await wire.answered(answer(2)) == 2


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("/dev/null", "/dev/null is no serial port; one such as /dev/ttyUSB0"),
        ("/dev/tty", "/dev/tty is no serial port"),
        ("/dev/ttyUSB99", "/dev/ttyUSB99 is not there: is the adapter plugged in"),
        ("/dev/serial/by-id/usb-x", "/dev/serial/by-id/usb-x is not there: is the adapter"),
    ],
)
def test_what_is_no_serial_port_is_not_opened(device: str, why: str) -> None:
    with pytest.raises(LinkDown) as refused:
        open_port(SerialPort(device, 9600, "none"))
    assert refused.value.message.startswith(why)


def test_a_name_that_leads_to_another_file_is_not_opened(tmp_path: Path) -> None:
    name = tmp_path / "ttyRS485"
    name.symlink_to("/dev/null")
    with pytest.raises(LinkDown, match="leads to /dev/null, which is no serial port"):
        open_port(SerialPort(str(name), 9600, "none"))


def test_all_is_the_same_on_uvloop() -> None:
    async def live() -> list[object]:
        wire = plugged()
        seen: list[object] = [await wire.answered(answer(1))]
        asking = asyncio.create_task(wire.ask())
        await wire.hear()
        wire.pull()
        seen.append((await asyncio.gather(asking, return_exceptions=True))[0])
        return seen

    value, lost = uvloop.run(live())
    assert value == 1
    assert isinstance(lost, NoAnswer)


_AS_ANOTHER = """
import os, sys
from workers.links.errors import LinkDown
from workers.links.serial_port import SerialPort, open_port
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    if sys.argv[2] == "rudely":
        os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
    else:
        open_port(SerialPort(sys.argv[1], 9600, "none"))
except LinkDown as down:
    print(down.message)
except OSError as refused:
    print(refused.strerror)
"""


def _as_another_user(device: str, *, how: str = "politely") -> str:
    """What somebody who is not root is told; `rudely`: by a program that looks at no locks."""
    line = [sys.executable, "-c", _AS_ANOTHER, device, how]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """A terminal's plug, and its name."""
    end, plug = os.openpty()
    yield plug, os.ttyname(plug)
    os.close(end)
    os.close(plug)


def test_who_may_not_open_a_port_is_told_which_group_may(terminal: tuple[int, str]) -> None:
    plug, device = terminal
    os.fchmod(plug, 0)
    told = _as_another_user(device)
    assert told.startswith(f"{device} may not be opened by this user: it belongs to group ")
    assert "usermod -aG" in told


def test_another_user_who_may_open_the_port_is_kept_out_while_we_speak_on_it(
    terminal: tuple[int, str],
) -> None:
    plug, device = terminal
    os.fchmod(plug, 0o666)
    ours = open_port(SerialPort(device, 9600, "none"))
    assert "in use by another program" in _as_another_user(device)
    assert "busy" in _as_another_user(device, how="rudely")
    close_port(ours)
    assert _as_another_user(device, how="rudely") == ""
    assert _as_another_user(device) == ""
