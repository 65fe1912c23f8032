"""Step 0029_lean_money: the DDL is in 0029_lean_money.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0029_lean_money."""

    dependencies: list[tuple[str, str]] = [("models", "0031_load_limits")]
    operations: list[Operation] = [RunSQL(sql("0029_lean_money.sql"))]
