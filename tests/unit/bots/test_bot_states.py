"""A balance that is at an alarm level is told with the mark that every list of meters shows (A21)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from backend.control.state_rules import MeterState
from bots.view import View


@pytest.mark.parametrize(
    ("state", "mark"),
    [
        (MeterState.ALARM_1, "△ 一级报警 "),
        (MeterState.ALARM_2, "▲ 二级报警 "),
        (MeterState.ARREARS, "■ 欠费 "),
        (MeterState.OPENED, ""),
        (MeterState.LOST, ""),  # a silent meter is told of by the age of its figures
    ],
)
def test_the_answer_begins_with_the_state_of_the_meter(
    chat_with: Callable[..., Any], one_meter: View, state: MeterState, mark: str
) -> None:
    (account,) = one_meter.accounts
    meter = replace(account.meters[0], state=state)
    plain = chat_with(one_meter).say("余额")
    seen = replace(one_meter, accounts=(replace(account, meters=(meter,)),))
    assert chat_with(seen).say("余额") == mark + plain
