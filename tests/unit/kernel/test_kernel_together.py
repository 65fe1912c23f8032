"""Who comes while a batch is under way goes together in the next; one that fails costs the others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from backend.kernel.together import Together


class Desk:
    """Doubles numbers. It writes down its batches, refuses 13, and waits for `open` before each batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def do(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.begun.set()
        await self.open.wait()
        if 13 in items:
            raise ValueError("13 is not served")
        return [2 * item for item in items]


async def test_one_alone_waits_for_nobody() -> None:
    desk = Desk()
    together = Together(desk.do)
    assert [await together(1), await together(2)] == [2, 4]
    assert desk.batches == [[1], [2]]


async def test_all_who_come_during_a_batch_go_in_the_next_one_in_their_order() -> None:
    desk = Desk()
    desk.open.clear()
    together = Together(desk.do, most=3)
    waiting = [asyncio.ensure_future(together(1))]
    await desk.begun.wait()
    waiting += [asyncio.ensure_future(together(number)) for number in (2, 3, 4, 5)]
    await asyncio.sleep(0)
    desk.open.set()
    assert await asyncio.gather(*waiting) == [2, 4, 6, 8, 10]
    assert desk.batches == [[1], [2, 3, 4], [5]]


async def test_one_that_fails_is_told_so_and_the_others_of_its_batch_are_done() -> None:
    desk = Desk()
    together = Together(desk.do)
    done = await asyncio.gather(*[together(n) for n in (12, 13, 14)], return_exceptions=True)
    assert (done[0], done[2]) == (24, 28)
    assert isinstance(done[1], ValueError)
    assert desk.batches == [[12, 13, 14], [12], [13], [14]]
    assert await together(15) == 30


async def test_who_goes_away_before_its_batch_is_left_out_and_during_it_harms_nobody() -> None:
    desk = Desk()
    desk.open.clear()
    together = Together(desk.do)
    first, second, third = (asyncio.ensure_future(together(number)) for number in (1, 2, 3))
    await desk.begun.wait()
    late = asyncio.ensure_future(together(4))
    await asyncio.sleep(0)
    second.cancel()
    late.cancel()
    desk.open.set()
    assert [await first, await third] == [2, 6]
    for gone in (second, late):
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert await together(5) == 10
    assert [4] not in desk.batches


async def test_several_that_come_together_are_done_together_and_told_in_their_order() -> None:
    desk = Desk()
    together = Together(desk.do)
    assert await together.all([3, 1, 2]) == [6, 2, 4]
    assert desk.batches == [[3, 1, 2]]
    assert await together.all([]) == []
    with pytest.raises(ValueError, match="13 is not served"):
        await together.all([4, 13, 5])
    assert desk.batches[1:] == [[4, 13, 5], [4], [13], [5]], "the others were done"


async def test_who_goes_away_takes_back_all_that_no_batch_has_taken() -> None:
    desk = Desk()
    desk.open.clear()
    together = Together(desk.do)
    first = asyncio.ensure_future(together(1))
    await desk.begun.wait()
    late = asyncio.ensure_future(together.all([2, 3]))
    await asyncio.sleep(0)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    desk.open.set()
    assert await first == 2
    assert await together(4) == 8
    assert desk.batches == [[1], [4]]


async def test_with_two_abreast_a_second_batch_does_not_wait_for_the_first_and_a_third_does() -> (
    None
):
    desk = Desk()
    desk.open.clear()
    together = Together(desk.do, most=3, abreast=2)
    waiting = [asyncio.ensure_future(together.all([1, 2]))]
    await desk.begun.wait()
    waiting += [asyncio.ensure_future(together.all(some)) for some in ([3], [4, 5], [6, 7])]
    for _ in range(3):
        await asyncio.sleep(0)
    assert desk.batches == [[1, 2], [3, 4, 5]], "what came together is not taken apart"
    desk.open.set()
    assert await asyncio.gather(*waiting) == [[2, 4], [6], [8, 10], [12, 14]]
    assert desk.batches[2:] == [[6, 7]]
    assert await together(8) == 16


async def test_more_than_a_batch_takes_that_come_together_go_in_as_few_as_may_be() -> None:
    desk = Desk()
    together = Together(desk.do, most=2)
    assert await together.all([1, 2, 3, 4, 5]) == [2, 4, 6, 8, 10]
    assert desk.batches == [[1, 2], [3, 4], [5]]
