"""Step 0002_house: the DDL is in 0002_house.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0002_house."""

    dependencies: list[tuple[str, str]] = [("models", "0001_tenancy")]
    operations: list[Operation] = [RunSQL(sql("0002_house.sql"))]
