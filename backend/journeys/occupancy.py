"""A meter begins to serve an account, from what the meter itself said a short while ago (A13, C9)."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from backend.accounts import queries as accounts
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict
from backend.kernel.scope import Scope
from backend.metering import operations
from backend.metering import queries as metering
from backend.metering.models import MeterAssignment

# The opening count decides every later purchase number, so it must be what the meter says now.
OPENING_AT_MOST = timedelta(minutes=60)


async def assign_meter(
    *, scope: Scope, meter_id: UUID, account_id: UUID, at: datetime
) -> MeterAssignment:
    """Hang a meter on an account, with its latest reading as the opening.

    Raises NotFound, Forbidden, InvalidInput, Conflict (no reading of the last hour, the account is
    closed, the meter serves another account or is of another project).
    """
    async with unit_of_work(scope.group_id) as work:
        meter = await metering.meter(work, scope=scope, meter_id=meter_id)
        account = await accounts.account(work, scope=scope, account_id=account_id)
        if account.closed_at is not None:
            raise Conflict("the account is closed")
        latest = (await metering.latest_of_meters(work, meter_ids=[meter_id])).get(meter_id)
        if latest is None or at - latest.at > OPENING_AT_MOST:
            raise Conflict("read the meter first: its latest reading is older than 60 minutes")
        return await operations.assign(
            work, scope=scope, meter=meter, account_id=account_id, opening=latest, at=at
        )
