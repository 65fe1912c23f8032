"""Sentences by key, with `{placeholders}`: the only place where the bot's Chinese is written.

A language is one flat YAML file beside this module. It is read whole and judged at the first
use, so a broken file stops the process at its start-up check (`load`), not in a conversation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Formatter

import yaml

_KEY = re.compile(r"[a-z][a-z_]*(?:\.[a-z][a-z_]*)+")
_NAME = re.compile(r"[a-z][a-z_]*")


class TextsBroken(ValueError):
    """A language file, or a use of it, breaks the rules; the message names the key."""


@dataclass(frozen=True, slots=True)
class Texts:
    """One language: `sentences` by key; each key's placeholders are in `placeholders`."""

    sentences: Mapping[str, str]
    placeholders: Mapping[str, frozenset[str]]

    def say(self, key: str, /, **values: str) -> str:
        """The sentence of `key` with exactly its placeholders filled.

        Raises TextsBroken for an unknown key or for values that are not its placeholders.
        """
        self.check({key: frozenset(values)})
        return self.sentences[key].format_map(values)

    def check(self, used: Mapping[str, frozenset[str]]) -> None:
        """Raise TextsBroken unless each used key exists with exactly those placeholders."""
        for key, names in used.items():
            if key not in self.sentences:
                raise TextsBroken(f"no text has the key {key}")
            if names != self.placeholders[key]:
                wanted = sorted(self.placeholders[key])
                raise TextsBroken(f"{key} has the placeholders {wanted}, not {sorted(names)}")


def read(source: str) -> Texts:
    """Texts of one YAML document: a flat mapping of dotted keys to sentences.

    Raises TextsBroken for bad YAML, a nested or empty value, a bad key, a key said twice, or a
    placeholder that is not a plain name (no index, attribute, conversion or format).
    """
    try:
        node = yaml.compose(source, Loader=yaml.SafeLoader)
        loaded = yaml.safe_load(source)
    except yaml.YAMLError as error:
        raise TextsBroken("not YAML") from error
    if not isinstance(loaded, dict) or not isinstance(node, yaml.MappingNode):
        raise TextsBroken("not a mapping of keys to sentences")
    keys = [key.value for key, _ in node.value]
    if len(keys) != len(set(keys)):
        raise TextsBroken("a key is said twice")
    return Texts(loaded, {key: _placeholders(key, text) for key, text in loaded.items()})


@cache
def load(language: str = "zh") -> Texts:
    """The texts of `language`, read once. Raises TextsBroken as `read`, or FileNotFoundError."""
    return read(files(__name__).joinpath(f"{language}.yaml").read_text(encoding="utf-8"))


def say(key: str, /, **values: str) -> str:
    """The Chinese sentence of `key`; raises TextsBroken as `Texts.say`."""
    return load().say(key, **values)


def _placeholders(key: object, text: object) -> frozenset[str]:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise TextsBroken(f"{key!r} is not a dotted key")
    if not isinstance(text, str) or not text.strip():
        raise TextsBroken(f"{key} has no sentence")
    names: set[str] = set()
    try:
        for _, name, spec, conversion in Formatter().parse(text):
            if name is None:
                continue
            if spec or conversion or not _NAME.fullmatch(name):
                raise TextsBroken(f"{key} has a placeholder that is not a plain name")
            names.add(name)
    except ValueError as error:
        raise TextsBroken(f"{key} has a broken placeholder") from error
    return frozenset(names)
