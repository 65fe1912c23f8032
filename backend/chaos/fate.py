"""Whether something goes wrong now, drawn from a seed; and where the simulated process has died.

Every commit of the money path and every send to the outside has a name: the function that opened the
unit of work and its place among those of that function, or the send. The names are in COMMITS and SENDS
(registry); a place that was reached and is in neither, or is there and was never struck, fails a run.
"""

from __future__ import annotations

import ast
import random
from collections import Counter
from enum import StrEnum
from functools import cache
from pathlib import Path

from backend.kernel.failpoints import Moment, Place, SimulatedCrash

_ROOT = Path(__file__).resolve().parents[2]
_FIRST, _AGAIN = 0.7, 0.01
_AIMED_AT = 3  # every third place of the registry, each seed another third

COMMITS = (
    "backend.journeys.topup.start/1",
    "backend.journeys.topup.start/2",
    "backend.callbacks.payment_notice.receive/1",
    "backend.journeys.notice.store_notice/1",
    "backend.journeys.notice.settle_notice/1",
    "backend.journeys.notice.settle_notice/2",
    "backend.journeys.settle._settle_all/1",
    "backend.journeys.ask_channel.ask_channel/1",
    "backend.journeys.ask_channel.ask_channel/2",
    "backend.journeys.vend.next_work/1",
    "backend.journeys.vend.about_to_write/1",
    "backend.journeys.vend.verified/1",
    "backend.journeys.vend.not_reached/1",
    "backend.journeys.deliver.deliver/1",
    "backend.journeys.deliver.deliver/2",
    "workers.control._verified/1",
    "workers.relay.relay_group/1",
    "workers.main.handle_event/1",
    "workers.janitor.tidy_group/1",
    "workers.main._finish_all/1",
    "backend.journeys.command.tend/1",
    "backend.journeys.command.tend/2",
    "backend.journeys.batch_run.tend_batches/1",
    "backend.journeys.charge_missed.charge_missed/1",
    "backend.journeys.charge_grants.give_monthly_grants/1",
    "backend.journeys.shared_purse.tend_shared_purses/1",
    "backend.journeys.notice.refund_noticed/1",
    "backend.journeys.refund.request_refund/1",
    "backend.journeys.refund.approve_refund/1",
    "backend.journeys.refund.refuse_refund/1",
    "backend.journeys.refund_sending.pursue/1",
    "backend.journeys.refund_sending._conclude/1",
    "backend.journeys.refund_sending._unreached/1",
    "backend.journeys.cash_desk.open_shift/1",
    "backend.journeys.cash_desk.close_shift/1",
    "backend.journeys.cash_desk.hand_over/1",
    "backend.journeys.cash_desk.pay_out/1",
    "backend.journeys.cashier.take_money/1",
    "backend.journeys.correction.correct_topup/1",
    "workers.uplink_inbox.readings/1",
    "backend.journeys.charge.charge_meters/1",
    "backend.journeys.charge.charge_meters/2",
    "backend.journeys.closing.close_account/1",
    "backend.journeys.takedown.replace_meter/1",
    "backend.journeys.takedown.move_account/1",
    "backend.journeys.takedown_steps.look/1",
    "backend.journeys.takedown_steps.go_on/1",
    "backend.journeys.takedown_steps.not_reached/1",
    "workers.sweep.meter_refresh/1",
    "workers.sweep.meter_refresh/2",
    "backend.journeys.closing_steps.advance/1",
    "backend.journeys.closing_steps._lots/1",
    "backend.journeys.closing_steps._give_back/1",
    "backend.journeys.closing_steps.advance/2",
)


class Send(StrEnum):
    """Sends to the outside."""

    PREPAY = "send.prepay"
    QUERY = "send.query"
    CLOSE = "send.close"
    REFUND = "send.refund"
    MESSAGE = "send.message"
    READ = "send.meter_read"
    WRITE = "send.meter_write"


class Way(StrEnum):
    """LEAVING: nothing has left yet. DONE: the other side has acted, and nobody here knows."""

    LEAVING = "LEAVING"
    DONE = "DONE"


REGISTRY = frozenset(f"{name} {moment}" for name in COMMITS for moment in Moment) | frozenset(
    f"{send} {way}" for send in Send for way in Way
)


class Fate:
    """The luck of one seed. `cruel` off: nothing goes wrong any more."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(f"fate {seed}")
        self.cruel = False
        self.passed: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self._aims = frozenset(sorted(REGISTRY)[seed % _AIMED_AT :: _AIMED_AT])

    def chance(self, share: float) -> bool:
        """Whether this time it goes wrong."""
        return self.cruel and self.draw.random() < share

    def at_commit(self, place: Place, moment: Moment) -> None:
        """See failpoints.Strike."""
        if self.cruel:
            self._reached(f"{name_of(place)} {moment}")

    def at_send(self, send: Send, way: Way) -> None:
        """The same for a send. Raises SimulatedCrash."""
        if self.cruel:
            self._reached(f"{send} {way}")

    def _reached(self, name: str) -> None:
        self.passed[name] += 1
        # A seed aims at some places: were all struck alike, hardly any work would come to the late ones.
        aimed = name in self._aims and not self.struck[name]
        if self.draw.random() < (_FIRST if aimed else _AGAIN):
            self.struck[name] += 1
            raise SimulatedCrash(name)


@cache
def name_of(place: Place) -> str:
    """`module.function/N`: the N-th unit of work that this function opens."""
    path = Path(place.file)
    module = ".".join(path.resolve().relative_to(_ROOT).with_suffix("").parts)
    number = sum(1 for line in _opened_in(place.file, place.function) if line <= place.line)
    return f"{module}.{place.function}/{number}"


@cache
def _opened_in(file: str, function: str) -> tuple[int, ...]:
    """The lines on which functions of that name open a unit of work."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return tuple(
        sorted(
            block.lineno
            for made in ast.walk(tree)
            if isinstance(made, ast.AsyncFunctionDef) and made.name == function
            for block in ast.walk(made)
            if isinstance(block, ast.AsyncWith) and "unit_of_work" in ast.unparse(block.items[0])
        )
    )
