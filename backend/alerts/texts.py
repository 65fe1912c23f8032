"""The sentences of messages, by event, in texts.toml beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def sentences() -> Mapping[str, str]:
    """Each event's sentence, with its placeholders."""
    loaded: dict[str, str] = tomllib.loads(
        Path(__file__).with_name("texts.toml").read_text(encoding="utf-8")
    )
    return loaded


def text(event: str, **params: str) -> str:
    """The sentence of `event` with its placeholders filled. Raises KeyError for a missing one."""
    return sentences()[event].format(**params)
