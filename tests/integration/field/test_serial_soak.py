"""Questions on a serial line where everything goes wrong by chance: no answer is ever taken for
another question's, and every question ends."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from workers.links.errors import NoAnswer
from workers.links.serial import SerialLink
from workers.protocols.errors import FrameError

from .test_link import answer
from .test_serial_link import ASKED, Touchy, Wire, plugged

# Long enough that a busy machine is not taken for a slow meter.
ANSWER_S, DRAIN_S, LATE_S = 0.1, 0.2, 0.14
QUESTIONS = 30


class Mischief:
    """Answers question number n with n, or does something else by chance; remembers what."""

    def __init__(self, wire: Wire, seed: int) -> None:
        self._wire = wire
        self._chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.number = 0
        self.history: list[str] = []

    def act(self) -> None:
        """A question has come."""
        right, say = answer(self.number), self._wire.say
        later = asyncio.get_running_loop().call_later
        noise = self._chance.randbytes(self._chance.randint(1, 12))
        what = self._chance.choice(
            [
                "right",
                "right",
                "noisy",
                "doubled",
                "echoed",
                "other",
                "broken",
                "cut",
                "late",
                "silent",
            ]
        )
        self.done[what] += 1
        self.history.append(what)
        match what:
            case "right":
                say(right)
            case "noisy":
                say(noise + right)
            case "doubled":
                say(right)
                later(0.001, say, right)
            case "echoed":
                say(ASKED + right)
            case "other":
                say(answer(self.number, unit=2))
                later(0.002, say, noise)
            case "broken":
                say(right[:-1] + bytes([right[-1] ^ 1]))
            case "cut":
                say(right[:4])
                later(LATE_S, say, right[4:])
            case "late":
                later(LATE_S, say, right)


async def test_whatever_a_line_does_an_answer_is_to_its_own_question_or_none() -> None:
    wire = plugged()
    port = Touchy(wire.port.device, wire.port.baud, "none")
    wire.link = SerialLink(port, answer_s=ANSWER_S, drain_s=DRAIN_S)
    mischief, ends = Mischief(wire, seed=3), Counter[str]()
    async with asyncio.timeout(60):
        for number in range(1, QUESTIONS + 1):
            mischief.number = number
            asking = asyncio.create_task(wire.ask())
            await wire.hear()
            mischief.act()
            try:
                assert await asking == number, (mischief.history[-3:], number)
                ends["answered"] += 1
            except (NoAnswer, FrameError) as failure:
                ends[type(failure).__name__] += 1
    await wire.link.close()
    wire.pull()
    assert len(mischief.done) == 9, mischief.done
    assert ends["answered"] > QUESTIONS // 4, ends
