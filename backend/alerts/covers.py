"""Covers of meters: how often each was opened, as its meter counts it (A22)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork

# The first count that a meter tells is no news: it was opened when it was made and when it was hung.
_KEEP = (
    "INSERT INTO alerts_cover AS c (group_id, meter_id, opens, told_at)"
    " SELECT $1, n.meter_id, n.opens, $4 FROM unnest($2::uuid[], $3::integer[]) AS n(meter_id, opens)"
    " ON CONFLICT (group_id, meter_id) DO UPDATE SET opens = EXCLUDED.opens, told_at = $4"
    "  WHERE c.opens <> EXCLUDED.opens RETURNING new.meter_id, old.opens AS before, new.opens AS now"
)


async def keep_covers(
    work: UnitOfWork, *, opens: Mapping[UUID, int], at: datetime
) -> dict[UUID, int]:
    """Keep what meters told of their covers, by one statement; of those that were opened since, how often.
    A count that is lower than before is another meter's, or one that began anew: it is kept, and no news."""
    ordered = sorted(opens)
    rows = await work.fetch(
        _KEEP, work.group_id, ordered, [opens[meter_id] for meter_id in ordered], at
    )
    return {
        row["meter_id"]: row["now"] - row["before"]
        for row in rows
        if row["before"] is not None and row["now"] > row["before"]
    }
