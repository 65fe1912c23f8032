"""Step 0034_lean_charges: the DDL is in 0034_lean_charges.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0034_lean_charges."""

    dependencies: list[tuple[str, str]] = [("models", "0033_too_fast")]
    operations: list[Operation] = [RunSQL(sql("0034_lean_charges.sql"))]
