"""Forward-only migrations: hand-written DDL, run and recorded by Tortoise's executor.

Tortoise has no composite keys, drops CHECKs of new models and knows no row-level security or
partitions (docs/adr/0003), so every step is SQL; a test holds models and catalogue together.
"""

from __future__ import annotations

from pathlib import Path


def sql(name: str) -> str:
    """The text of one step's SQL file beside this one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
