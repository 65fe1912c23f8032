"""A cut that ends by itself is told with the hour at which power comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from backend.kernel.clock import CHINA
from bots.view import CutCause, Relay, View


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (CutCause.MALIGNANT_LOAD, "拔掉大功率电器"),
        (CutCause.OVERLOAD, "拔掉大功率电器"),
        (CutCause.TIMETABLE, "自动恢复"),
        (CutCause.OPERATOR, "自动恢复"),
    ],
)
def test_a_cut_that_ends_by_itself_is_told_with_its_hour(
    chat_with: Callable[..., Any], one_meter: View, now: datetime, cause: CutCause, told: str
) -> None:
    back, account = now + timedelta(minutes=10), one_meter.accounts[0]
    meter = replace(account.meters[0], relay=Relay.OPEN, cut_cause=cause, back_at=back)
    view = replace(one_meter, accounts=(replace(account, meters=(meter,)),))
    answer = chat_with(view).say("没电").split("\n")[1]
    assert told in answer
    assert f"{back.astimezone(CHINA):%H:%M} 自动恢复" in answer
