"""Step 0001_tenancy: the DDL is in 0001_tenancy.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0001_tenancy."""

    dependencies: list[tuple[str, str]] = []
    operations: list[Operation] = [RunSQL(sql("0001_tenancy.sql"))]
