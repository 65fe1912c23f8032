"""Step 0016_charges: the DDL is in 0016_charges.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0016_charges."""

    dependencies: list[tuple[str, str]] = [("models", "0015_refunds")]
    operations: list[Operation] = [RunSQL(sql("0016_charges.sql"))]
