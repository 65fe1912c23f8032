"""Step 0014_ledger: the DDL is in 0014_ledger.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0014_ledger."""

    dependencies: list[tuple[str, str]] = [("models", "0013_tariffs")]
    operations: list[Operation] = [RunSQL(sql("0014_ledger.sql"))]
