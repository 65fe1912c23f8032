"""The measures of the trunk by themselves: a clock by hand, no network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backend.kernel.errors import InvalidInput
from workers.links.episodes import Episodes
from workers.links.intake import Intake, Limits, Verdict
from workers.links.mqtt import Broker
from workers.uplink_line import Arrived

NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
LIMITS = Limits(rate_per_s=10, burst=5, waiting=8, total_bytes=1000, flood=4, flood_s=10)


def _offer(intake: Intake[str, int], source: str, now_s: float, *, size: int = 1) -> Verdict:
    return intake.offer(source, 0, size=size, now_s=now_s)


def test_a_source_may_burst_and_then_has_its_rate_and_no_more() -> None:
    intake: Intake[str, int] = Intake(LIMITS)
    assert [_offer(intake, "a", 0) for _ in range(6)] == [Verdict.TAKEN] * 5 + [Verdict.OVER_RATE]
    assert _offer(intake, "a", 0.05) is Verdict.OVER_RATE
    assert _offer(intake, "a", 0.1) is Verdict.TAKEN
    assert _offer(intake, "a", 0.1) is Verdict.OVER_RATE
    assert intake.dropped == {"a": 3}
    assert [_offer(intake, "b", 0.1) for _ in range(5)] == [Verdict.TAKEN] * 5


def test_tokens_do_not_gather_beyond_the_burst() -> None:
    intake: Intake[str, int] = Intake(LIMITS)
    _offer(intake, "a", 0)
    taken = [_offer(intake, "a", 1000) for _ in range(7)]
    assert taken.count(Verdict.TAKEN) == 5


def test_who_goes_on_and_on_over_the_rate_is_called_a_flood_and_who_hurries_now_and_then_is_not() -> (
    None
):
    intake: Intake[str, int] = Intake(LIMITS)
    verdicts = [_offer(intake, "a", 0) for _ in range(13)]
    assert verdicts[5:] == [*[Verdict.OVER_RATE] * 3, Verdict.FLOOD] * 2
    patient: Intake[str, int] = Intake(LIMITS)
    for step in range(20):
        now_s = step * 11.0
        for _ in range(5):
            assert _offer(patient, "a", now_s) is Verdict.TAKEN
        for _ in range(3):
            assert _offer(patient, "a", now_s) is Verdict.OVER_RATE
        while patient.take():
            pass


def test_every_source_has_its_turn_however_much_of_another_waits() -> None:
    intake: Intake[str, int] = Intake(LIMITS)
    for number in range(5):
        intake.offer("a", number, size=1, now_s=0)
    intake.offer("b", 100, size=1, now_s=0)
    intake.offer("c", 200, size=1, now_s=0)
    order = [intake.take() for _ in range(8)]
    assert order == [("a", 0), ("b", 100), ("c", 200), *(("a", n) for n in range(1, 5)), None]


def test_what_waits_is_bounded_in_number_and_in_bytes() -> None:
    intake: Intake[str, int] = Intake(LIMITS)
    for now_s in range(100):
        _offer(intake, "a", now_s)
    assert sum(1 for _ in iter(intake.take, None)) == 8
    assert _offer(intake, "b", 0, size=600) is Verdict.TAKEN
    assert _offer(intake, "c", 0, size=600) is Verdict.FULL
    assert intake.take() == ("b", 0)
    assert _offer(intake, "c", 0, size=600) is Verdict.TAKEN


def test_a_thing_is_told_once_an_hour_with_how_often_it_happened_unsaid() -> None:
    episodes = Episodes()
    assert episodes.begin("x", at=NOON) == 0
    for minute in range(1, 60):
        assert episodes.begin("x", at=NOON + timedelta(minutes=minute)) is None
    assert episodes.begin("y", at=NOON) == 0
    assert episodes.begin("x", at=NOON + timedelta(hours=1)) == 59
    episodes.forget("x")
    assert episodes.begin("x", at=NOON + timedelta(hours=1)) == 0


def test_names_that_an_attacker_invents_do_not_fill_the_memory() -> None:
    episodes = Episodes()
    for number in range(25_000):
        episodes.begin(number, at=NOON)
    assert len(episodes._told) <= 20_000


@pytest.mark.parametrize(
    ("order", "complete"),
    [
        ([1, 2, 3], True),
        ([3, 1, 2], True),
        ([2, 3], False),
        ([1, 3], False),
        ([1, 2, 3, 3], True),
    ],
)
def test_a_session_is_complete_when_every_number_has_arrived_in_whatever_order(
    order: list[int], complete: bool
) -> None:
    arrived = Arrived(bytes(8))
    for seq in order:
        arrived.note(seq)
    assert arrived.all_through(3) is complete


def test_a_lost_frame_is_not_forgotten_by_ten_thousand_later_ones() -> None:
    arrived = Arrived(bytes(8))
    for seq in range(2, 10_002):
        arrived.note(seq)
    assert not arrived.all_through(2)
    assert len(arrived._beyond) <= 1001


def test_a_brokers_address_is_read_and_its_password_never_shown() -> None:
    broker = Broker.of("mqtt://cloud:p%40ss-word@broker.example:1884")
    assert (broker.host, broker.port, broker.user) == ("broker.example", 1884, "cloud")
    assert broker.password == "p@ss-word"
    assert "ss-word" not in repr(broker)
    assert Broker.of("mqtt://u:p@h").port == 1883
    secure = Broker.of("mqtts://u:p@h")
    assert (secure.port, secure.tls is not None) == (8883, True)
    for wrong in ("http://u:p@h", "mqtt://h", "mqtt://u:p@h:x", "mqtt://", "u:p@h"):
        with pytest.raises(InvalidInput):
            Broker.of(wrong)
