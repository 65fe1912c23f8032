"""A meter behind one of our own gateways: the driver's ports, done by CMD and RES over the sealed uplink.

Here and not in drivers, because what it raises is what links raise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from backend.kernel.clock import Clock
from backend.kernel.errors import Conflict, DomainError, InvalidInput
from backend.kernel.ids import uuid7
from backend.kernel.money import Money
from backend.uplink.errors import CommandExpired, TripHeld
from backend.uplink.message import Cmd, Dar, Op, Res
from workers.drivers.bare import BareDriver
from workers.drivers.ports import MeterSnapshot, Wallet
from workers.drivers.registers import snapshot_of
from workers.protocols.errors import FrameError, MeterRefused

from .errors import LinkDown, NoAnswer

Command = Callable[[Cmd], Awaitable[Res]]

# A gateway's clock may be 300 s off (60 s for trips): a shorter life would end before it begins there.
LIFE = timedelta(minutes=10)
TRIP_LIFE = timedelta(seconds=120)
_MOST_FEN = 10**11
_MOST_COUNT = 2**31 - 1


class RemoteMeter(BareDriver):
    """The meter `serial` of `model` on a gateway that `command` leads to.

    `command` sends one command and gives the RES with its id; it raises LinkDown when nothing was sent
    and NoAnswer when no RES came in its time. The command may then still act within its life: a sale is
    held to its number by the meter, and WALLET waits behind it on the bus; a switch gives way to a newer
    one. A VEND has its read-back in the RES, yet `credit` gives nothing: who sells reads the wallet (C10).
    """

    def __init__(self, *, model: str, serial: str, command: Command, clock: Clock) -> None:
        super().__init__(model)
        self._serial = serial
        self._command = command
        self._clock = clock

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

    async def _do(
        self,
        op: Op,
        *,
        purchase_no: int | None = None,
        amount_fen: int | None = None,
        until: datetime | None = None,
    ) -> Res:
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
            purchase_no=purchase_no,
            amount_fen=amount_fen,
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
            return Conflict("the meter or its gateway cannot do this")
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
