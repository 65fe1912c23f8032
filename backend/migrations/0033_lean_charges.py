"""Step 0033_lean_charges: the DDL is in 0033_lean_charges.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0033_lean_charges."""

    dependencies: list[tuple[str, str]] = [("models", "0032_lean_topups")]
    operations: list[Operation] = [RunSQL(sql("0033_lean_charges.sql"))]
