"""Step 0008_enrolment: the DDL is in 0008_enrolment.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0008_enrolment."""

    dependencies: list[tuple[str, str]] = [("models", "0007_control")]
    operations: list[Operation] = [RunSQL(sql("0008_enrolment.sql"))]
