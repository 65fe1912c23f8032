"""Step 0015_refunds: the DDL is in 0015_refunds.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0015_refunds."""

    dependencies: list[tuple[str, str]] = [("models", "0014_ledger")]
    operations: list[Operation] = [RunSQL(sql("0015_refunds.sql"))]
