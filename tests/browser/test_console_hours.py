"""Hours of rate bands as an operator types them and as the console shows them, in each language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .chromium import Tab
from .test_console_said import speaking

TYPED = """import('/hours.js').then(({ HoursFields }) => {
  const fields = new HoursFields();
  fields.tables.value = %s;
  fields.zones.value = %s;
  const { calendar, wrong } = fields.read();
  const [field, told] = wrong ? [wrong[0].getAttribute("name"), wrong[1]] : [null, null];
  return { calendar: calendar || null, wrong: field, told };
})"""
SHOWN = "import('/hours.js').then(({ hoursOf }) => hoursOf(%s))"
NIGHT = [
    {"start": "00:00", "band": "valley"},
    {"start": "08:00", "band": "peak"},
    {"start": "22:30", "band": "deep"},
]
YEAR: dict[str, Any] = {
    "zones": [{"month": 1, "day": 1, "table": 1}, {"month": 7, "day": 15, "table": 2}],
    "tables": [NIGHT, [{"start": "00:00", "band": "flat"}]],
}


async def typed(tab: Tab, tables: str, zones: str = "01-01 1") -> dict[str, Any]:
    """What the fields make of it."""
    found: Any = await tab.run(TYPED % (json.dumps(tables), json.dumps(zones)))
    assert isinstance(found, dict), found
    return found


@pytest.mark.chromium
async def test_hours_are_typed_by_words_or_codes_and_shown_as_they_were_typed(
    tmp_path: Path,
) -> None:
    async with speaking(tmp_path / "zh", "zh") as tab:
        by_word = await typed(
            tab, "00:00 谷 8：00 峰，22:30 深谷\n\n 00:00 平 ", "1-1 1\n07-15 2\n"
        )
        assert by_word == {"calendar": YEAR, "wrong": None, "told": None}
        by_code = await typed(tab, "00:00 valley 08:00 peak 22:30 deep")
        assert by_code["calendar"] == {"zones": YEAR["zones"][:1], "tables": [NIGHT]}
        assert await tab.run(SHOWN % json.dumps(YEAR)) == [
            "1 月 1 日起：00:00 谷 08:00 峰 22:30 深谷",
            "7 月 15 日起：00:00 平",
        ]
        assert await tab.run(SHOWN % "null") == []
        for wrong in (
            "",
            "08:00",
            "谷 00:00",
            "00:00 夜",
            "24:00 谷",
            "00:60 谷",
            "00:00 谷 08:00",
        ):
            told = await typed(tab, wrong)
            assert (told["calendar"], told["wrong"]) == (None, "tables"), wrong
            assert told["told"] == "每行写“时刻 费率”，如 00:00 谷 08:00 峰。"
        for wrong in ("", "01-01", "1 1 1", "元旦 1"):
            told = await typed(tab, "00:00 谷", wrong)
            assert (told["calendar"], told["wrong"]) == (None, "zones"), wrong
    async with speaking(tmp_path / "en", "en") as tab:
        assert (await typed(tab, "00:00 Valley"))["calendar"]["tables"] == [NIGHT[:1]]
        single = {"zones": YEAR["zones"][:1], "tables": [NIGHT]}
        assert await tab.run(SHOWN % json.dumps(single)) == [
            "00:00 Valley 08:00 Peak 22:30 Deep valley"
        ]
