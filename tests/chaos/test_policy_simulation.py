"""Nobody is in the dark by mistake in the policy simulation; it repeats itself, and finds what is planted."""

from __future__ import annotations

import json

import pytest

from backend.chaos.policy_fate import Fault
from backend.chaos.policy_simulate import DAYS, METERS, play, play_site, policy_command

from .policy_planted import BUGS

_SITES = 12


def test_some_sites_cut_and_restore_by_every_fault_and_breach_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = policy_command(seed=1, meter_days=8 * METERS * DAYS, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["breaches"] == []
    assert told["never_struck"] == []
    assert set(told["faults"]) == {fault.value for fault in Fault}
    kept = (
        "wrongful_trips",
        "missed_trips_over_2_cycles",
        "late_commands_acted",
        "keep_power_broken",
    )
    assert [told[name] for name in kept] == [0, 0, 0, 0]
    assert told["trips"] > 100
    assert told["restores"] > 50
    assert told["meter_days"] == 8 * METERS * DAYS
    assert code == 0


def test_a_run_in_which_a_fault_never_struck_does_not_pass() -> None:
    tally = play(seed=1, meter_days=METERS * DAYS)
    assert not tally.breaches
    assert not tally.good
    assert tally.never_struck


def test_a_site_played_again_does_just_the_same_and_another_does_not() -> None:
    (once, struck), (again, struck_again) = play_site(3, 0), play_site(3, 0)
    other, _ = play_site(3, 1)
    assert (once, struck) == (again, struck_again)
    assert once.restore_s != other.restore_s


@pytest.mark.parametrize("bug", BUGS)
def test_what_people_get_wrong_about_cuts_is_found(
    monkeypatch: pytest.MonkeyPatch, bug: str
) -> None:
    plant, word = BUGS[bug]
    plant(monkeypatch)
    said: list[str] = []
    sites = iter(range(_SITES))
    while not any(word in words for words in said) and (number := next(sites, None)) is not None:
        said += play_site(1, number)[0].words
    assert any(word in words for words in said), f"what was said is {said[:5]}"
