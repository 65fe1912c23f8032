"""Step 0009_dial_in: the DDL is in 0009_dial_in.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0009_dial_in."""

    dependencies: list[tuple[str, str]] = [("models", "0008_enrolment")]
    operations: list[Operation] = [RunSQL(sql("0009_dial_in.sql"))]
