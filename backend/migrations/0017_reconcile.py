"""Step 0017_reconcile: the DDL is in 0017_reconcile.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0017_reconcile."""

    dependencies: list[tuple[str, str]] = [("models", "0016_charges")]
    operations: list[Operation] = [RunSQL(sql("0017_reconcile.sql"))]
