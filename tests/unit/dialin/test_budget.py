"""A line may send what it was asked for and a steady trickle, and no more."""

from __future__ import annotations

from workers.links.dialin.budget import Budget


def test_a_burst_is_taken_once_and_comes_back_with_time() -> None:
    budget = Budget(burst=100, steady=10, now_s=0)
    assert budget.take(100, now_s=0)
    assert not budget.take(1, now_s=0)
    assert budget.take(9, now_s=1.0)
    assert not budget.take(2, now_s=1.0)


def test_a_question_makes_room_for_its_answer_but_room_does_not_pile_up() -> None:
    budget = Budget(burst=100, steady=0, now_s=0)
    for _ in range(10):
        budget.grant(50)
    assert budget.take(100, now_s=99)
    budget.grant(50)
    assert budget.take(50, now_s=99)
    assert not budget.take(1, now_s=99)
