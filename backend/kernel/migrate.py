"""Bring a database to the newest step. Run as the owner role, never as the application role."""

from __future__ import annotations

from datetime import datetime

from tortoise import Tortoise
from tortoise.migrations.api import migrate as tortoise_migrate

from .db import connect, tortoise_config

APP_ROLE = "shuidian_app"
# Tortoise records a step after its transaction and takes no lock of its own: two deploys at once
# would run a step twice. One advisory lock serialises them.
_LOCK = 7_281_906_512


async def migrate(owner_dsn: str, *, at: datetime) -> list[str]:
    """Apply every missing step; returns their names. `at` decides which days and months get
    partitions.

    The role `shuidian_app` must exist (compose.yaml and the launcher create it).
    """
    applied: list[str] = []
    guard = await connect(owner_dsn)
    try:
        await guard.execute("SELECT pg_advisory_lock($1)", _LOCK)
        if not await guard.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", APP_ROLE):
            raise RuntimeError(f"the role {APP_ROLE} does not exist; create it first")

        def note(event: str, _app: str, name: str) -> None:
            if event == "apply_done":
                applied.append(name)

        config = tortoise_config(owner_dsn, pool_max=2, migrations="backend.migrations")
        try:
            await tortoise_migrate(config=config, app_labels=["models"], progress=note)
        finally:
            await Tortoise.close_connections()
        await guard.execute("SELECT metering_prepare($1)", at.date())
    finally:
        await guard.close()
    return applied
