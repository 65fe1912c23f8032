"""Step 0035_next_due: the DDL is in 0035_next_due.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0035_next_due."""

    dependencies: list[tuple[str, str]] = [("models", "0034_lean_charges")]
    operations: list[Operation] = [RunSQL(sql("0035_next_due.sql"))]
