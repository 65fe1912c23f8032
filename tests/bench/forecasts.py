"""What a look at how long money lasts costs an account: the first of 28 days, the one of a night, any other.

`journeys.forecast.tend_forecasts` of the product over accounts with a CLOUD meter, a tariff with bands, steps
and fees, 1,000 yuan, and roll-ups of 29 days.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from backend.journeys.forecast import tend_forecasts
from backend.kernel.clock import SystemClock
from backend.kernel.db import Database
from backend.kernel.migrate import migrate
from backend.sandbox.embedded.services import EmbeddedServices
from tests.integration.forecasted import DAY, NINE
from tests.integration.priced import priced
from tests.integration.world import make_group

from .charging import MANY, TERMS, Owner

DATABASE = "bench_forecasts"
_LEARNED = {"first_28_days": 28, "an_hour": 0, "a_night": 1}
_LIVED = """
SELECT metering_ensure_month('2026-11-01'), metering_ensure_month('2026-12-01');
INSERT INTO metering_hours (group_id, project_id, meter_id, epoch, day, hours, used, samples)
    SELECT s.group_id, s.project_id, s.meter_id, s.counter_epoch, date '2026-11-23' + d, (1 << 24) - 1,
        (SELECT string_agg((100 + (h * 37 + n * 11 + d * 5) % 400)::text, ',') FROM generate_series(0, 23) h),
        array_to_string(array_fill(2, ARRAY[24]), ',')
    FROM (SELECT *, row_number() OVER () AS n FROM metering_assignment) AS s, generate_series(0, 28) AS d
"""


async def run(services: EmbeddedServices, *, accounts: int = 20_000) -> dict[str, Any]:
    """The figures of forecasts by their keys."""
    await services.prepare_database(DATABASE)
    await migrate(services.owner_dsn(DATABASE), at=SystemClock().now())
    await Database.open(services.app_dsn(DATABASE), pool_max=4)
    base = services.postgres.admin_dsn.rsplit("/", 1)[0]
    server = await asyncpg.connect(f"{base}/{DATABASE}")
    looks = {
        "first_28_days": NINE,
        "an_hour": NINE + timedelta(hours=1),
        "a_night": NINE + DAY,
    }
    spent = {}
    try:
        world = await make_group(Owner(services, DATABASE), "bench")
        await priced(world, terms=TERMS)
        await server.execute(f"SELECT set_config('app.group_id', '{world.group_id:d}', false)")
        await server.execute(MANY.format(count=accounts))
        await server.execute(_LIVED)
        await server.execute("VACUUM ANALYZE")
        for name, at in looks.items():
            started = time.perf_counter()
            done = await tend_forecasts(group_id=world.group_id, at=at)
            spent[name] = time.perf_counter() - started
            assert done.days == (accounts + 1) * _LEARNED[name], done  # and the group's first
    finally:
        await server.close()
        await Database.close()
    per_account = {name: round(s * 1e6 / accounts) for name, s in spent.items()}
    return {"forecasts.us_per_account": per_account, "forecasts.accounts": accounts}


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp(prefix="shuidian-bench-"))
    folder.chmod(0o755)
    with EmbeddedServices(folder) as running:
        size = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
        sys.stdout.write(json.dumps(uvloop.run(run(running, accounts=size)), indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
