"""Step 0036_order_age: the DDL is in 0036_order_age.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0036_order_age."""

    dependencies: list[tuple[str, str]] = [("models", "0035_next_due")]
    operations: list[Operation] = [RunSQL(sql("0036_order_age.sql"))]
