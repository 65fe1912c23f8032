"""Step 0005_ledger: the DDL is in 0005_ledger.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0005_ledger."""

    dependencies: list[tuple[str, str]] = [("models", "0004_metering")]
    operations: list[Operation] = [RunSQL(sql("0005_ledger.sql"))]
