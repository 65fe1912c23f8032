"""A meter behind one of our own gateways: the driver's ports, done by CMD and RES over the sealed uplink.

Here and not in drivers, because what it raises is what links raise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from backend.kernel.band_calendar import Calendar, calendar_numbers, calendar_of
from backend.kernel.clock import Clock
from backend.kernel.errors import Conflict, DomainError, InvalidInput
from backend.kernel.ids import uuid7
from backend.kernel.money import Money
from backend.uplink.errors import CommandExpired, MessageRefused, TripHeld
from backend.uplink.message import CALENDAR_VERSION, SETTINGS_VERSION, Cmd, Dar, Op, Res
from workers.drivers.bare import BareDriver
from workers.drivers.ports import LoadLimits, MeterSnapshot, Thresholds, Wallet
from workers.drivers.registers import snapshot_of
from workers.drivers.settings_numbers import (
    limits_of,
    numbers_of_limits,
    numbers_of_thresholds,
    thresholds_of,
)
from workers.protocols.errors import FrameError, MeterRefused

from .errors import LinkDown, NoAnswer

Command = Callable[[Cmd], Awaitable[Res]]

# A gateway's clock may be 300 s off (60 s for trips): a shorter life would end before it begins there.
LIFE = timedelta(minutes=10)
TRIP_LIFE = timedelta(seconds=120)
_A_CALENDAR = CALENDAR_VERSION, "a calendar"
_CAME_WITH = {Op.CALENDAR: _A_CALENDAR, Op.SET_CALENDAR: _A_CALENDAR}
_MOST_FEN = 10**11
_MOST_COUNT = 2**31 - 1


class NotKnownThere(Conflict):
    """The model or the gateway cannot do it; nothing was sent to the meter."""


class RemoteMeter(BareDriver):
    """The meter `serial` of `model` on a gateway that `command` leads to.

    `command` sends one command and gives the RES with its id; it raises LinkDown when nothing was sent
    and NoAnswer when no RES came in its time. The command may then still act within its life: a sale is
    held to its number by the meter, and WALLET waits behind it on the bus; a switch or a setting gives way
    to a newer one. A VEND has its read-back in the RES, yet `credit` gives nothing: who sells reads the
    wallet (C10), and who sets something reads it. The gateway is asked first whether it knows settings.
    """

    def __init__(self, *, model: str, serial: str, command: Command, clock: Clock) -> None:
        super().__init__(model)
        self._serial = serial
        self._command = command
        self._clock = clock
        self._known_versions: set[int] = set()

    async def read(self) -> MeterSnapshot:
        """See CanRead.read."""
        res = await self._do(Op.READ)
        snapshot = None if res.reading is None else snapshot_of(res.reading)
        if snapshot is None:
            raise FrameError("the gateway says that it read the meter, but sends no reading")
        return snapshot

    async def wallet(self) -> Wallet:
        """See CanCredit.wallet."""
        res = await self._do(Op.WALLET)
        if res.wallet_fen is None or res.purchase_no is None:
            raise FrameError("the gateway says that it read the wallet, but sends none")
        return Wallet(Money.of_fen(res.wallet_fen), res.purchase_no)

    async def credit(self, *, amount: Money, purchase_count: int) -> None:
        """See CanCredit.credit. A command that came too late is LinkDown: the meter was not touched."""
        if amount.hao <= 0 or amount.hao % 100 or amount.fen > _MOST_FEN:
            raise InvalidInput("a sale is a whole number of fen above zero", field="amount")
        if not 0 < purchase_count <= _MOST_COUNT:
            raise InvalidInput("a purchase count is above zero", field="purchase_count")
        try:
            await self._do(Op.VEND, purchase_no=purchase_count, amount_fen=amount.fen)
        except CommandExpired as late:
            raise LinkDown("the sale reached the gateway too late; nothing was sent") from late

    async def trip(self, *, until: datetime | None = None) -> None:
        """See CanSwitch.trip. Raises CommandExpired and TripHeld too (nothing was sent)."""
        await self._do(Op.TRIP, until=until)

    async def allow_close(self) -> None:
        """See CanSwitch.allow_close. Raises CommandExpired too (nothing was sent)."""
        await self._do(Op.ALLOW_CLOSE)

    async def close(self) -> None:
        """See CanSwitch.close. Raises CommandExpired too (nothing was sent)."""
        await self._do(Op.CLOSE)

    async def keep_power(self) -> None:
        """See CanSwitch.keep_power. Raises CommandExpired too (nothing was sent)."""
        await self._do(Op.KEEP_POWER)

    async def release(self) -> None:
        """See CanSwitch.release. Raises CommandExpired too (nothing was sent)."""
        await self._do(Op.RELEASE)

    async def prices(self) -> Mapping[str, int]:
        """See CanPrice.prices."""
        return await self._held(Op.PRICES)

    async def write_prices(self, prices: Mapping[str, int], /) -> None:
        """See CanPrice.write_prices. Raises CommandExpired too (nothing was sent), as all that follow."""
        await self._set(Op.SET_PRICES, prices)

    async def thresholds(self) -> Thresholds:
        """See CanWarn.thresholds."""
        return thresholds_of(await self._held(Op.THRESHOLDS))

    async def write_thresholds(self, thresholds: Thresholds, /) -> None:
        """See CanWarn.write_thresholds."""
        if numbers := numbers_of_thresholds(thresholds):
            await self._set(Op.SET_THRESHOLDS, numbers)

    async def load_limits(self) -> LoadLimits:
        """See CanLimitLoad.load_limits."""
        try:
            return limits_of(await self._held(Op.LOAD_LIMITS))
        except InvalidInput as broken:
            raise FrameError("the gateway sends load limits that are not whole") from broken

    async def write_load_limits(self, limits: LoadLimits | None, /) -> None:
        """See CanLimitLoad.write_load_limits."""
        await self._set(Op.SET_LOAD_LIMITS, numbers_of_limits(limits))

    async def calendar(self) -> Calendar:
        """See CanKeepTime.calendar; none where what the meter holds is no calendar."""
        try:
            return calendar_of(await self._held(Op.CALENDAR))
        except InvalidInput as broken:
            raise FrameError("the gateway sends a calendar that is none") from broken

    async def write_calendar(self, calendar: Calendar, /) -> None:
        """See CanKeepTime.write_calendar."""
        await self._set(Op.SET_CALENDAR, calendar_numbers(calendar))

    async def write_clock(self, now: datetime, /) -> None:
        """See CanKeepTime.write_clock; not to `now` but to the gateway's time, when its bus is free. Raises
        Conflict too when the gateway's clock is not the cloud's."""
        try:
            await self._set(Op.SET_CLOCK, None)
        except TripHeld as held:
            raise Conflict("the gateway's own clock is wrong: turn on NTP there first") from held

    async def _held(self, op: Op) -> Mapping[str, int]:
        await self._know(op)
        res = await self._do(op)
        if res.settings is None:
            raise FrameError("the gateway says that it read the settings, but sends none")
        return res.settings

    async def _set(self, op: Op, settings: Mapping[str, int] | None) -> None:
        await self._know(op)
        try:
            await self._do(op, settings=settings)
        except MessageRefused as refused:  # by our own rules, before it was sent
            raise InvalidInput("settings that no gateway takes") from refused

    async def _know(self, op: Op) -> None:
        """A gateway of an older version would not even say no to a setting. Raises Conflict."""
        version, what = _CAME_WITH.get(op, (SETTINGS_VERSION, "settings"))
        if version in self._known_versions:
            return
        try:
            await self._do(Op.TARIFF, tariff_ver=version)
        except NotKnownThere as old:
            raise Conflict(
                f"the gateway's software is too old to carry {what}: update it; nothing was sent"
            ) from old
        self._known_versions.add(version)

    async def _do(self, op: Op, *, until: datetime | None = None, **values: Any) -> Res:
        now = self._clock.now()
        issued = now.replace(microsecond=0)
        expires = issued + (TRIP_LIFE if op is Op.TRIP else LIFE)
        if until is not None:  # the command is older than this try: its time does not begin anew
            expires = min(expires, until.replace(microsecond=0))
            if expires <= issued:
                raise CommandExpired("the command's time is over; nothing was sent")
        cmd = Cmd(
            cmd_id=uuid7(now),
            meter=self._serial,
            op=op,
            issued=issued,
            expires=expires,
            **values,
        )
        res = await self._command(cmd)
        if res.cmd_id != cmd.cmd_id:
            raise NoAnswer("the answer is to another command")
        if res.dar != Dar.SUCCESS and not (op is Op.VEND and res.dar == Dar.DUPLICATE):
            raise _refusal(res.dar)
        return res


def _refusal(dar: int) -> DomainError:
    """The error that a driver next to the meter would have raised. What is not known here counts as
    NoAnswer: the meter may have acted."""
    match dar:
        case Dar.NOT_SENT:
            return LinkDown("the gateway does not reach the meter; nothing was sent")
        case Dar.REFUSED:
            return MeterRefused("the meter refuses", refusal=dar)
        case Dar.COUNT_WRONG:
            return MeterRefused("the purchase count is not the meter's next", refusal=dar)
        case Dar.NOT_SUPPORTED:
            return NotKnownThere("the meter or its gateway cannot do this")
        case Dar.NO_METER:
            return Conflict("the gateway's site file does not have this meter")
        case Dar.OUT_OF_RANGE:
            return InvalidInput("the meter cannot take this value")
        case Dar.TIME_TAG:
            return CommandExpired("the command reached the meter's gateway too late")
        case Dar.TRIP_HELD:
            return TripHeld("no trip while the clocks of gateway and cloud differ")
        case Dar.SUPERSEDED:
            return Conflict("a newer command to the meter overtook this one")
        case Dar.BROKEN_ANSWER:
            return FrameError("the meter's answer was broken; it may have acted")
    return NoAnswer(f"no answer of the meter ({dar}); it may have acted")
