"""Step 0003_accounts: the DDL is in 0003_accounts.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0003_accounts."""

    dependencies: list[tuple[str, str]] = [("models", "0002_house")]
    operations: list[Operation] = [RunSQL(sql("0003_accounts.sql"))]
