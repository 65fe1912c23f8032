"""Places where a simulated process may die: right before and right after each commit.

Off in every process of the product: then one comparison a unit of work is all it costs. The simulation
(backend/chaos/simulate.py) switches it on; it raises SimulatedCrash where it wants the process to end,
and picks the work up again as a next process would. Sends have such places in the simulated adapters.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

_GENERATOR_FRAMES = 3  # this function, the unit of work's generator, contextlib


class Moment(StrEnum):
    """COMMITTING: all is written and nothing is kept yet. COMMITTED: it is kept, nobody was told."""

    COMMITTING = "COMMITTING"
    COMMITTED = "COMMITTED"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a unit of work was opened: file, function and line."""

    file: str
    function: str
    line: int


class SimulatedCrash(BaseException):
    """The process ends here. Not an Exception: nothing of the product may catch it and go on."""


Strike = Callable[[Place, Moment], None]
_strike: Strike | None = None


@contextmanager
def armed(strike: Strike) -> Iterator[None]:
    """Call `strike` at every place until the block ends; it may raise SimulatedCrash."""
    global _strike
    _strike = strike
    try:
        yield
    finally:
        _strike = None


def place_of_caller() -> Place | None:
    """Who opens the unit of work; None when switched off."""
    if _strike is None:
        return None
    frame = sys._getframe(_GENERATOR_FRAMES)
    return Place(frame.f_code.co_filename, frame.f_code.co_name, frame.f_lineno)


def reach(place: Place | None, moment: Moment) -> None:
    """The unit of work of `place` has come so far. Raises SimulatedCrash when it is struck."""
    if place is not None and _strike is not None:
        _strike(place, moment)
