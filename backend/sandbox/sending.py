"""How the stand-ins send notices: lost, doubled, late or at once, and again until somebody takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from backend.sandbox.answers import NO_ANSWER, caller
from backend.sandbox.faults import Faults

# The real platforms try over a day; a demo wants the first four tries of it.
RETRIES_S = (15.0, 15.0, 30.0, 180.0)
SENDING_FAULTS = ("lost_notice", "duplicate_notice", "delay_notice")
_ANSWER_S = 5.0
Message = Callable[[], tuple[dict[str, str], bytes]]
Taken = Callable[[int, str], bool]


def _is_2xx(status: int, _: str) -> bool:
    return 200 <= status < 300


class Sender:
    """Posts messages; tries that follow run in the background until `stop`. `retries_s` are the pauses,
    `taken` says by status and text whether an answer ends the tries."""

    def __init__(
        self, *, faults: Faults, retries_s: Sequence[float], taken: Taken = _is_2xx
    ) -> None:
        self._faults = faults
        self._taken = taken
        self._retries_s = tuple(retries_s)
        self._running: set[asyncio.Task[None]] = set()

    async def tell(self, url: str, message: Message, /) -> list[int]:
        """Send what `message` makes (anew for each later try); the HTTP status of each try made at once.

        0 stands for no answer. A lost or delayed notice gives an empty list.
        """
        if self._faults.take("lost_notice"):
            return []
        copies = 1 + self._faults.use_up("duplicate_notice")
        if delay := self._faults.use_up("delay_notice"):
            self._later(url, message, (float(delay),))
            return []
        headers, body = message()
        found = [await _post(url, headers, body) for _ in range(copies)]
        if not any(self._taken(*answer) for answer in found):
            self._later(url, message, self._retries_s)
        return [status for status, _ in found]

    async def stop(self) -> None:
        """Give up what is still to be sent."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _later(self, url: str, message: Message, delays: Sequence[float]) -> None:
        task = asyncio.create_task(self._retry(url, message, delays))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _retry(self, url: str, message: Message, delays: Sequence[float]) -> None:
        for delay in delays:
            await asyncio.sleep(delay)
            if self._taken(*await _post(url, *message())):
                return


async def _post(url: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
    """Status and text of one try, (0, '') when nobody answered in five seconds."""
    async with caller(timeout_s=_ANSWER_S) as client:
        try:
            answer = await client.post(url, content=body, headers=headers)
        except NO_ANSWER:
            return 0, ""
        return answer.status_code, answer.text
