"""A round of a bus: who is asked how often, who gives way, what is believed (C22, C25)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest
from pymodbus.pdu import ExceptionResponse
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from backend.kernel.errors import DomainError, NotFound
from backend.metering.on_buses import SweptMeter
from workers.drivers.modbus import ModbusDriver
from workers.links.errors import LinkDown, NoAnswer
from workers.profiles.loader import profile_of
from workers.protocols import modbus
from workers.protocols.errors import CrcError
from workers.protocols.framing import asked
from workers.round import Round

AT = datetime(2026, 3, 1, tzinfo=UTC)
MODEL = "DDSY1352-NK"
TYPE = 7  # what a DDSY1352 says it is
Said = bytes | DomainError


def meters(*tries: int) -> list[SweptMeter]:
    """Meters at unit 1, 2.. that are asked so often."""
    return [
        SweptMeter(UUID(int=unit), f"M-{unit}", MODEL, str(unit), each)
        for unit, each in enumerate(tries, 1)
    ]


def poll(unit: int, *, total: int = 0, kind: int = TYPE) -> bytes:
    """A meter's whole answer to the prepaid poll; `total` in 10 Wh."""
    registers = [0] * 48
    registers[0], registers[0x16] = kind, total
    return modbus.frame_of(ReadHoldingRegistersResponse(dev_id=unit, registers=registers))


def refusal(unit: int) -> bytes:
    """No such register."""
    return modbus.frame_of(ExceptionResponse(3, exception_code=2, device_id=unit))


class Bus:
    """Whoever holds it; what each question gets is written down beforehand. `give_way`: when somebody else
    wants it, by how many were asked."""

    def __init__(self, *said: Said, give_way: Callable[[int], bool] = lambda _: False) -> None:
        self._said = list(said)
        self._give_way = give_way
        self.heard: list[tuple[int, int]] = []
        """(unit, first register) of each question."""

    def scripted(self, meter: SweptMeter, /) -> ModbusDriver:
        """As buses.Turn."""
        if meter.profile != MODEL:
            raise NotFound("no such profile")
        return ModbusDriver(profile_of(meter.profile), int(meter.bus_address), asked)

    @property
    def wanted(self) -> bool:
        """As buses.Turn."""
        return self._give_way(len(self.heard))

    def play(self, round_: Round) -> None:
        """Ask what the round asks until its script ends. Raises what the script raises."""
        script = round_.script(self)
        with suppress(StopIteration):
            question = script.send(None)
            while True:
                request, expected = question
                self.heard.append((request[0], int.from_bytes(request[2:4], "big")))
                said = self._said.pop(0)
                if isinstance(said, bytes):
                    frame, _ = expected.take(said)
                    assert frame is not None, "a link gives whole answers only"
                    question = script.send(frame)
                else:
                    question = script.throw(said)


def totals(round_: Round) -> list[tuple[int, int]]:
    """(unit, Wh) of all who showed something."""
    return [(meter_id.int, shown.total) for meter_id, shown, _ in round_.snapshots()]


def played(bus: Bus, *tries: int) -> Round:
    round_ = Round(meters(*tries), lambda: AT)
    bus.play(round_)
    return round_


def test_each_meter_is_asked_once_and_its_answer_is_its_own() -> None:
    bus = Bus(poll(1, total=11), poll(2, total=22), poll(3, total=33))
    assert totals(played(bus, 2, 2, 2)) == [(1, 110), (2, 220), (3, 330)]
    assert bus.heard == [(1, 0x0200), (2, 0x0200), (3, 0x0200)]


@pytest.mark.parametrize("failure", [NoAnswer("silent"), CrcError("noise")])
def test_who_fails_is_asked_again_only_with_a_second_try_and_the_next_one_in_any_case(
    failure: DomainError,
) -> None:
    bus = Bus(failure, poll(1, total=11), failure, poll(3, total=33))
    assert totals(played(bus, 2, 1, 2)) == [(1, 110), (3, 330)]
    assert [unit for unit, _ in bus.heard] == [1, 1, 2, 3]


def test_two_failures_end_a_meters_two_tries() -> None:
    bus = Bus(NoAnswer("silent"), NoAnswer("silent"), poll(2, total=22))
    assert totals(played(bus, 2, 2)) == [(2, 220)]
    assert [unit for unit, _ in bus.heard] == [1, 1, 2]


def test_a_meter_that_is_left_in_peace_is_not_asked() -> None:
    bus = Bus(poll(2, total=22))
    assert totals(played(bus, 0, 1, 0)) == [(2, 220)]
    assert [unit for unit, _ in bus.heard] == [2]


def test_a_meter_that_refuses_the_poll_is_asked_for_what_holds_a_total_and_not_twice_the_same() -> (
    None
):
    layout = modbus.frame_of(ReadHoldingRegistersResponse(dev_id=1, registers=[0, 5] + [0] * 15))
    bus = Bus(refusal(1), layout, poll(2, total=22))
    assert [unit for unit, _ in totals(played(bus, 2, 2))] == [1, 2]
    assert bus.heard == [(1, 0x0200), (1, 0x0000), (2, 0x0200)]


def test_another_model_at_the_address_is_left_out_and_its_neighbours_are_believed() -> None:
    bus = Bus(poll(1, total=11, kind=TYPE + 1), poll(2, total=22))
    assert totals(played(bus, 2, 2)) == [(2, 220)]


def test_a_model_without_a_profile_costs_the_others_nothing() -> None:
    bus = Bus(poll(2, total=22))
    unknown = meters(1)[0]._replace(profile="NOBODY'S")
    round_ = Round([unknown, meters(1, 1)[1]], lambda: AT)
    bus.play(round_)
    assert totals(round_) == [(2, 220)]


@pytest.mark.parametrize(
    "first",
    [
        (poll(1),),
        (NoAnswer("silent"), poll(1)),
        (refusal(1), modbus.frame_of(ReadHoldingRegistersResponse(dev_id=1, registers=[0] * 17))),
        (NoAnswer("silent"), NoAnswer("silent")),
    ],
)
def test_who_waits_for_the_bus_waits_for_one_meter_whatever_becomes_of_it(
    first: Sequence[Said],
) -> None:
    bus = Bus(*first, poll(2, total=22), give_way=lambda heard: heard == len(first))
    round_ = Round(meters(2, 2), lambda: AT)
    bus.play(round_)
    assert {unit for unit, _ in bus.heard} == {1}
    assert not round_.over
    bus.play(round_)  # in another turn
    assert round_.over
    assert totals(round_)[-1] == (2, 220)


def test_a_gateway_that_is_gone_ends_the_round_and_what_was_heard_is_kept() -> None:
    bus = Bus(poll(1, total=11), LinkDown("gone"))
    round_ = Round(meters(2, 2, 2), lambda: AT)
    with pytest.raises(LinkDown):
        bus.play(round_)
    assert totals(round_) == [(1, 110)]
    assert round_.reached


@pytest.mark.parametrize(
    ("said", "reached"),
    [
        ((NoAnswer("silent"), NoAnswer("silent")), False),
        ((NoAnswer("silent"), CrcError("noise")), True),
        ((poll(1),), True),
    ],
)
def test_a_gateway_is_there_when_anything_behind_it_spoke(
    said: Sequence[Said], reached: bool
) -> None:
    assert played(Bus(*said), 2).reached == reached
