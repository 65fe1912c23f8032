"""A process that packs a closed day and says so after each transaction, until it is killed.

`python -m tests.integration.closing_child DSN GROUP DAY`
"""

from __future__ import annotations

import asyncio
import sys
from datetime import date

from backend.kernel.db import Database, unit_of_work
from backend.metering.retention import pack_some


async def main(dsn: str, group_id: int, day: date) -> None:
    """Pack the day of all meters of the group."""
    await Database.open(dsn)
    after = None
    while True:
        async with unit_of_work(group_id) as work:
            samples, after = await pack_some(work, day=day, after=after)
        sys.stdout.write(f"{samples}\n")
        sys.stdout.flush()
        if after is None:
            break
    await Database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), date.fromisoformat(sys.argv[3])))
