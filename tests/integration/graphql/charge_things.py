"""What doors of charges name, in one project: a charged account in a class, a meter that is held."""

from __future__ import annotations

from datetime import timedelta

from backend.journeys.shared_purse import share_purse
from schema.scalars import ref

from ..charged import make_home
from ..world import START, World, make_account, reading_of

DAY = timedelta(days=1)


async def make_charge_things(world: World, *, prefix: str) -> dict[str, str]:
    """Opaque ids: JoiningAccount, SharingAccount (it draws from ChargedAccount's purse), ChargedAccount, its
    Charge, its CreditClass (with emergency credit), HeldMeter, SilentMeter (nothing was heard of it for two
    days)."""
    home = await make_home(world, no=f"3{prefix}0001")
    held = await make_home(world, no=f"3{prefix}0002")
    await home.read(home.reading(1, 1_000))
    await held.read(held.reading(1, -5))
    silent = await make_home(world, no=f"3{prefix}0003", started_at=START - 9 * DAY)
    last = reading_of(silent.meter.id, at=START - 2 * DAY, total=1_700_000)
    await silent.read(last)
    found = await home.enter_class("things", emergency="3")
    joining = await make_account(world, no=f"3{prefix}0004")
    sharing = await make_account(world, no=f"3{prefix}0005")
    await share_purse(
        scope=world.scope,
        account_id=sharing.id,
        owner_id=home.account.id,
        reason="one family",
        at=world.clock.now(),
    )
    return {
        "JoiningAccount": ref("Account", joining.id),
        "SharingAccount": ref("Account", sharing.id),
        "ChargedAccount": ref("Account", home.account.id),
        "Charge": ref("Charge", (await home.charges())[0].id),
        "CreditClass": ref("CreditClass", found.id),
        "HeldMeter": ref("Meter", held.meter.id),
        "SilentMeter": ref("Meter", silent.meter.id),
    }
