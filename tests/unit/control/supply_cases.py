"""The cases of `decide` that people ask about, and the table of them in docs/supply.md.

    python -m tests.unit.control.supply_cases docs/supply.md

prints the table anew. What each row says is what `decide` answers, not what is written here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from backend.control.command_rules import CommandKind
from backend.control.supply_rules import (
    Force,
    MoneyIn,
    OwnCut,
    SafetyLock,
    Supply,
    SupplyPolicy,
    Want,
    Why,
    decide,
)
from backend.kernel.money import Money

BEGIN, END = "<!-- cases -->", "<!-- /cases -->"
HALF_HOUR = timedelta(minutes=30)
TRIPPED = {why: Force(CommandKind.TRIP, why) for why in Why}
KEPT = Force(CommandKind.KEEP_POWER, Why.KEEP_ON)

# A shop that used up its money on a working day at noon and was warned yesterday.
IN_ARREARS = Supply(
    policy=SupplyPolicy.AUTO,
    protected=False,
    emergency=False,
    safety=None,
    timetable=None,
    money=MoneyIn.CLOUD,
    balance=Money.parse("0.30"),
    uncharged=Money.parse("0.50"),
    overdraft=Money(0),
    reading_age=timedelta(minutes=10),
    period=HALF_HOUR,
    hold=False,
    payment_pending=False,
    window_open=True,
    no_cut_day=False,
    warned_for=timedelta(hours=20),
    notice=timedelta(hours=4),
    takeover=False,
    restored_by=CommandKind.CLOSE,
    relay=True,
    force=None,
)
PAID: dict[str, Any] = {"balance": Money.parse("50.00")}
OWN: dict[str, Any] = {"relay": False, "own_cut": OwnCut.MALIGNANT_LOAD}
CUT: dict[str, Any] = {"relay": False, "force": TRIPPED[Why.ARREARS]}


class Case(NamedTuple):
    """`words`: what stands in the table; `changes`: to IN_ARREARS; what is expected of it."""

    words: str
    changes: Mapping[str, Any]
    want: Want
    why: Why
    command: CommandKind | None

    @property
    def supply(self) -> Supply:
        """The case as `decide` sees it."""
        return replace(IN_ARREARS, **self.changes)


ON, OFF, AS_IS = Want.ON, Want.OFF, Want.AS_IS
CASES = (
    Case("欠费，已提醒，时段内，读数新鲜", {}, OFF, Why.ARREARS, CommandKind.TRIP),
    Case("欠费，已经断开", CUT, OFF, Why.ARREARS, None),
    Case("余额恰好为零", {"uncharged": Money.parse("0.30")}, OFF, Why.ARREARS, CommandKind.TRIP),
    Case("余额一毫", {"balance": Money.parse("0.5001")}, ON, Why.PAID, None),
    Case("透支额度之内", {"overdraft": Money.parse("0.21")}, ON, Why.PAID, None),
    Case("欠费后充值", PAID | CUT, ON, Why.PAID, CommandKind.CLOSE),
    Case(
        "欠费后充值，由用户按键合闸",
        PAID | CUT | {"restored_by": CommandKind.ALLOW_CLOSE},
        ON,
        Why.PAID,
        CommandKind.ALLOW_CLOSE,
    ),
    Case(
        "欠费后充值，电表只会强合",
        PAID | CUT | {"restored_by": CommandKind.KEEP_POWER},
        ON,
        Why.PAID,
        CommandKind.KEEP_POWER,
    ),
    Case(
        "有钱，以强合供电",
        PAID | {"restored_by": CommandKind.KEEP_POWER, "force": KEPT},
        ON,
        Why.PAID,
        None,
    ),
    Case(
        "充值时拉闸正在途中，继电器未知",
        PAID | CUT | {"relay": None},
        ON,
        Why.PAID,
        CommandKind.CLOSE,
    ),
    Case("有钱，但用户自己断开", PAID | {"relay": False}, ON, Why.PAID, None),
    Case("欠费，从未抄到", {"reading_age": None}, ON, Why.READING_IS_OLD, None),
    Case("欠费，读数满两个周期", {"reading_age": 2 * HALF_HOUR}, ON, Why.READING_IS_OLD, None),
    Case("欠费，计费挂起（倒走）", {"hold": True}, ON, Why.BILLING_HOLD, None),
    Case("欠费，有支付未入账", {"payment_pending": True}, ON, Why.PAYMENT_PENDING, None),
    Case("欠费，夜间（时段之外）", {"window_open": False}, ON, Why.OUTSIDE_WINDOW, None),
    Case("欠费，节假日", {"no_cut_day": True}, ON, Why.NO_CUT_DAY, None),
    Case("欠费，提醒未送达", {"warned_for": None}, ON, Why.NOT_WARNED, None),
    Case("欠费，提醒不足约定小时", {"warned_for": timedelta(hours=1)}, ON, Why.NOT_WARNED, None),
    Case("已因欠费断开，入夜", CUT | {"window_open": False}, AS_IS, Why.OUTSIDE_WINDOW, None),
    Case(
        "定时断开已结束，欠费但未提醒",
        {"relay": False, "force": TRIPPED[Why.TIMETABLE], "warned_for": None},
        ON,
        Why.NOT_WARNED,
        CommandKind.CLOSE,
    ),
    Case("欠费，电表自己管钱", {"money": MoneyIn.METER}, ON, Why.NOT_OUR_MONEY, None),
    Case("管控表，不售电", {"money": MoneyIn.NONE}, ON, Why.NOT_OUR_MONEY, None),
    Case("保护名单，欠费", {"protected": True}, ON, Why.PROTECTED, CommandKind.KEEP_POWER),
    Case(
        "保护名单，操作员要拉闸",
        {"protected": True, "policy": SupplyPolicy.FORCED_OFF, "force": KEPT},
        ON,
        Why.PROTECTED,
        None,
    ),
    Case(
        "保护名单，两人批准的紧急拉闸",
        {"protected": True, "emergency": True, "force": KEPT},
        OFF,
        Why.EMERGENCY,
        CommandKind.TRIP,
    ),
    Case(
        "保电，恶性负载",
        {"policy": SupplyPolicy.KEEP_ON, "safety": SafetyLock.MALIGNANT_LOAD},
        ON,
        Why.KEEP_ON,
        CommandKind.KEEP_POWER,
    ),
    Case(
        "保电，但继电器断着",
        {"policy": SupplyPolicy.KEEP_ON, "force": KEPT, "relay": False},
        ON,
        Why.KEEP_ON,
        CommandKind.KEEP_POWER,
    ),
    Case("保电结束，有钱", PAID | {"force": KEPT}, ON, Why.PAID, CommandKind.RELEASE),
    Case("保电结束，欠费", {"force": KEPT}, OFF, Why.ARREARS, CommandKind.TRIP),
    Case(
        "操作员拉闸，有钱",
        PAID | {"policy": SupplyPolicy.FORCED_OFF},
        OFF,
        Why.FORCED_OFF,
        CommandKind.TRIP,
    ),
    Case(
        "操作员拉闸，电表已因自己的钱断开",
        {"policy": SupplyPolicy.FORCED_OFF, "money": MoneyIn.METER, "relay": False},
        OFF,
        Why.FORCED_OFF,
        CommandKind.TRIP,
    ),
    Case(
        "操作员拉闸后充值",
        PAID
        | {
            "policy": SupplyPolicy.FORCED_OFF,
            "relay": False,
            "force": TRIPPED[Why.FORCED_OFF],
        },
        OFF,
        Why.FORCED_OFF,
        None,
    ),
    Case(
        "恢复预付费（拉闸取消），电表自己管钱",
        {"money": MoneyIn.METER, "relay": False, "force": TRIPPED[Why.FORCED_OFF]},
        ON,
        Why.NOT_OUR_MONEY,
        CommandKind.RELEASE,
    ),
    Case(
        "过载锁定", PAID | {"safety": SafetyLock.OVERLOAD}, OFF, Why.SAFETY_LOCK, CommandKind.TRIP
    ),
    Case(
        "恶性负载锁定时充值",
        PAID
        | {
            "safety": SafetyLock.MALIGNANT_LOAD,
            "relay": False,
            "force": TRIPPED[Why.SAFETY_LOCK],
        },
        OFF,
        Why.SAFETY_LOCK,
        None,
    ),
    Case(
        "锁定解除",
        PAID | {"relay": False, "force": TRIPPED[Why.SAFETY_LOCK]},
        ON,
        Why.PAID,
        CommandKind.CLOSE,
    ),
    Case("电表因恶性负载自己断开，有钱", PAID | OWN, AS_IS, Why.OWN_CUT, None),
    Case("电表因恶性负载自己断开，欠费", OWN, OFF, Why.ARREARS, CommandKind.TRIP),
    Case(
        "欠费断开后充值，电表另有自己的负载锁定",
        PAID | OWN | {"force": TRIPPED[Why.ARREARS]},
        AS_IS,
        Why.OWN_CUT,
        None,
    ),
    Case(
        "电表自己管钱，自己锁定，拉闸取消",
        OWN | {"money": MoneyIn.METER, "force": TRIPPED[Why.FORCED_OFF]},
        ON,
        Why.NOT_OUR_MONEY,
        CommandKind.RELEASE,
    ),
    Case(
        "保电，电表自己锁定",
        OWN | {"policy": SupplyPolicy.KEEP_ON},
        ON,
        Why.KEEP_ON,
        CommandKind.KEEP_POWER,
    ),
    Case("定时断电，有钱", PAID | {"timetable": False}, OFF, Why.TIMETABLE, CommandKind.TRIP),
    Case("定时供电，欠费", {"timetable": True}, OFF, Why.ARREARS, CommandKind.TRIP),
    Case("第三方接管，欠费", {"takeover": True}, AS_IS, Why.TAKEOVER, None),
    Case("第三方接管，定时断电", {"takeover": True, "timetable": False}, AS_IS, Why.TAKEOVER, None),
    Case(
        "第三方接管，保护名单",
        {"takeover": True, "protected": True, "force": KEPT},
        ON,
        Why.PROTECTED,
        None,
    ),
)


def table() -> str:
    """The rows as `decide` answers them, in markdown between the marks."""
    rows = []
    for case in CASES:
        want, why, held_back, command = decide(case.supply)
        more = ", ".join(held_back[1:])
        rows.append(f"| {case.words} | {want} | {why} | {more or '—'} | {command or '—'} |")
    head = "| 情形 | 意图 | 依据 | 另有 | 命令 |\n|---|---|---|---|---|\n"
    return f"{BEGIN}\n{head}" + "\n".join(rows) + f"\n{END}"


def updated(text: str) -> str:
    """The page with its table as it is now."""
    before, rest = text.split(BEGIN)
    return before + table() + rest.split(END)[1]


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(updated(page.read_text("utf-8")), "utf-8")
