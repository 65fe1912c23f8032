"""Step 0031_lean_money: the DDL is in 0031_lean_money.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0031_lean_money."""

    dependencies: list[tuple[str, str]] = [("models", "0030_load_limits")]
    operations: list[Operation] = [RunSQL(sql("0031_lean_money.sql"))]
