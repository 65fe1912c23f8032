"""Every sentence the code says exists with the same placeholders; none is written in code or left over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import bots
from bots.texts import TextsBroken, load, read, say

ROOM = Path(bots.__file__).parent
# Modules that read Chinese: their command words and numerals are rules, not sentences.
READERS = {"intents.py", "normalise.py", "amounts.py"}
CHINESE = re.compile(r"[\u4e00-\u9fff]")
# The bot's own files; bots/binding belongs to the H5 session and speaks through web pages.
SOURCES = [p for p in sorted(ROOM.rglob("*.py")) if "binding" not in p.relative_to(ROOM).parts]


def uses() -> Iterator[tuple[str, frozenset[str]]]:
    """Each key with the placeholders it is called with; a key out of a table counts for all its rows."""
    for source in SOURCES:
        tree = ast.parse(source.read_text(encoding="utf-8"))
        tables = {
            target.id: [
                value.value for value in node.value.values if isinstance(value, ast.Constant)
            ]
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(tree):
            if not (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id == "say"
            ):
                continue
            names = frozenset(keyword.arg or "**" for keyword in call.keywords)
            (first,) = call.args
            if isinstance(first, ast.Constant):
                yield str(first.value), names
            else:
                assert isinstance(first, ast.Subscript), (
                    f"{source.name}:{call.lineno} hides its key"
                )
                assert isinstance(first.value, ast.Name)
                assert tables[first.value.id]
                for key in tables[first.value.id]:
                    yield str(key), names


def test_every_sentence_the_code_says_exists_with_exactly_its_placeholders() -> None:
    used = list(uses())
    assert len(used) > 80
    for key, names in used:
        load().check({key: names})


def test_no_sentence_is_left_over() -> None:
    assert set(load().sentences) == {key for key, _ in uses()}


def test_chinese_is_written_only_in_the_texts_and_in_the_modules_that_read_it() -> None:
    for source in SOURCES:
        if source.name in READERS:
            continue
        tree = ast.parse(source.read_text(encoding="utf-8"))
        docs = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs:
                assert not CHINESE.search(node.value), f"{source.name}:{node.lineno}"


def test_sentences_are_short_without_emoji_and_without_links() -> None:
    for key, sentence in load().sentences.items():
        assert len(sentence.split("\n")) <= 6, key
        assert all(len(line) <= 40 for line in sentence.split("\n")), key
        assert not re.search(r"[\U0001f000-\U0001faff\u2600-\u27bf]|https?:", sentence), key


@pytest.mark.parametrize(
    "source",
    [
        "a.b: [",
        "- a",
        "",
        "a.b:\n  c: d",
        "a.b: ''",
        "a.b: 5",
        "nodot: x",
        "A.b: x",
        "a.b: x\na.b: y",
        "a.b: '{0}'",
        "a.b: '{x.y}'",
        "a.b: '{x[0]}'",
        "a.b: '{x!r}'",
        "a.b: '{x:>9}'",
        "a.b: '{x'",
        "a.b: '{}'",
    ],
)
def test_a_broken_language_file_is_refused(source: str) -> None:
    with pytest.raises(TextsBroken):
        read(source)


def test_a_wrong_key_or_placeholder_is_refused_at_the_call() -> None:
    with pytest.raises(TextsBroken, match="no text has the key"):
        say("no.such_key")
    with pytest.raises(TextsBroken, match="has the placeholders"):
        say("balance.days")
    with pytest.raises(TextsBroken, match="has the placeholders"):
        say("balance.next", extra="1")


def test_braces_in_a_value_are_not_filled() -> None:
    assert say("balance.days", days="{name}") == "约可用 {name} 天。"
