"""The console as text: all its words in two languages, its documents, and no second definition of a state."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

import pytest
from graphql import OperationDefinitionNode, parse

from backend.alerts.alarm_rules import AlarmKind, AlarmLevel
from backend.control.batch_rules import BatchState, ItemState, LeftOut
from backend.control.command_rules import THRESHOLDS, CommandKind, CommandState
from backend.control.state_rules import MARKS, MeterState
from backend.control.supply_rules import SupplyPolicy, Want, Why
from backend.journeys.views import MeterCreditState, MoneyState
from backend.kernel.band_calendar import BANDS
from backend.metering.rules import MeterKind
from backend.tariffs.queries import VersionState
from backend.tenancy.rules import Permission
from backend.topups.rules import Channel
from schema.console_page import DOCUMENTS
from schema.models import Evidence
from schema.problems import PROBLEMS
from schema.relay import Relay
from workers.drivers.ports import LoadLimits

from .pages import CONSOLE, contrast, words

KEY = re.compile(r'"([a-z_]+\.[A-Za-z_0-9]+)"')
# Values of the schema that the page has words for, by the beginning of their keys.
WORDS: dict[str, Iterable[Enum | str]] = {
    "kind.": MeterKind,
    "relay.": Relay,
    "evidence.": Evidence.__members__,
    "evidence_more.": Evidence.__members__,
    "policy.": SupplyPolicy,
    "command.": CommandKind,
    "command_more.": set(CommandKind) - {CommandKind.LOAD_LIMITS},  # a load guard gives these
    "command_state.": CommandState,
    "batch_state.": BatchState,
    "item_state.": ItemState,
    "left_out.": LeftOut,
    "alarm.": AlarmKind,
    "level.": AlarmLevel.__members__,
    "level_from.": AlarmLevel.__members__,
    "channel.": Channel,
    "band.": BANDS,
    "threshold.": THRESHOLDS,
    "setting.": (*BANDS, *THRESHOLDS, *LoadLimits.__dataclass_fields__),
    "reason.": Why,
    "intent.": Want,
    "paid.": MoneyState,
    "credit.": MeterCreditState,
    "version.": VersionState,
    "right.": [str(each) for each in Permission],
    "problem.": {kind.code for kind in PROBLEMS if kind.code in ("FORBIDDEN", "CONFLICT")},
}
# What the page lists one by one: to choose from, or with a mood.
LISTS: dict[tuple[str, str], Iterable[Enum | str]] = {
    ("alarms.js", "ALARM_KINDS"): AlarmKind,
    ("alarms.js", "MOOD"): AlarmLevel.__members__,
    ("batch.js", "ITEM_MOOD"): ItemState,
    ("batches.js", "BATCH_MOOD"): BatchState,
    ("meter.js", "CREDIT"): MeterCreditState,
    ("meter.js", "MOOD"): CommandState,
    ("orders.js", "KINDS"): set(CommandKind) - {CommandKind.LOAD_LIMITS},
    ("prices.js", "MOOD"): VersionState,
}
ONE_LANGUAGE = ("said.", "state_word.")


def scripts() -> str:
    """All that is not words."""
    files = [f for f in sorted(CONSOLE.glob("*.js")) if not re.match(r"(zh|en)(_\w+)?\.js", f.name)]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def value_of(value: Enum | str) -> str:
    """As the schema spells it."""
    return value if isinstance(value, str) else str(value.name)


def test_both_languages_have_every_sentence_with_the_same_places_and_none_is_left_over() -> None:
    chinese, english = (
        {k: v for k, v in words(language).items() if not k.startswith(ONE_LANGUAGE)}
        for language in ("zh", "en")
    )
    assert chinese.keys() == english.keys()
    for key, sentence in chinese.items():
        assert set(re.findall(r"\{\w+\}", sentence)) == set(re.findall(r"\{\w+\}", english[key])), (
            key
        )
    text = scripts()
    used = {key for key in KEY.findall(text) if not key.endswith((".js", "_"))}
    assert used - chinese.keys() - {"shuidian.console"} == set(), "sentences that are missing"
    beginnings = set(re.findall(r'"([a-z_]+\.(?:[a-z_]+_)?)" \+', text))
    beginnings |= set(re.findall(r'"([a-z_]+\.)"', text))
    assert beginnings, "the pattern finds nothing"
    left = {k for k in chinese if k not in used and not k.startswith(tuple(beginnings))}
    assert left == set(), "sentences that nobody says"


@pytest.mark.parametrize("beginning", WORDS)
def test_every_value_of_the_schema_has_a_word(beginning: str) -> None:
    missing = {
        language: {beginning + value_of(each) for each in WORDS[beginning]} - words(language).keys()
        for language in ("zh", "en")
    }
    assert missing == {"zh": set(), "en": set()}


@pytest.mark.parametrize("where", LISTS, ids=" ".join)
def test_what_the_page_lists_is_all_that_there_is(where: tuple[str, str]) -> None:
    file, name = where
    text = (CONSOLE / file).read_text(encoding="utf-8")
    listed = re.search(rf"const {name} = (.*?[\]}}]);", text, re.DOTALL)
    assert listed is not None
    there = set(re.findall(r"\b[A-Z][A-Z_0-9]+\b", listed[1]))
    assert there == {value_of(each) for each in LISTS[where]}


def test_the_six_states_are_defined_in_one_place_and_stand_out_on_white() -> None:
    everywhere = "".join(
        file.read_text(encoding="utf-8")
        for folder in (CONSOLE, CONSOLE.parent / "h5")
        for file in folder.iterdir()
    )
    for mark in MARKS.values():
        assert mark.color.lower() not in everywhere.lower(), "a second definition of a colour"
        assert contrast(mark.color.lower(), "#ffffff") >= 3, f"{mark.word}: WCAG 2.2, 1.4.11"
    chinese = words("zh")
    assert not [key for key in chinese if key.startswith("state_word.")], "GraphQL has these"
    assert {f"state_word.{state}" for state in MeterState} <= words("en").keys()


def test_every_document_is_asked_by_its_own_name_and_no_script_asks_for_another() -> None:
    there = {
        (file.stem, operation.name.value)
        for file in DOCUMENTS.glob("*.graphql")
        for operation in parse(file.read_text(encoding="utf-8")).definitions
        if isinstance(operation, OperationDefinitionNode) and operation.name is not None
    }
    text = scripts()
    asked = set(re.findall(r'(?:ask|hear)\("(\w+)", "(\w+)"', text))
    steps = set(re.findall(r'act\("(\w+)"', text))
    asked |= {("batches", step) for step in steps}
    assert asked == there
