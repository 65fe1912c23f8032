"""What each command does at the meter, and what may be said of it afterwards (C8-C10, C19)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from backend.kernel.errors import Conflict, InvalidInput, Unavailable
from backend.kernel.money import HAO_PER_FEN, Money
from backend.uplink.message import CALENDAR_VERSION, SETTINGS_VERSION, Cmd, Dar, Op, RelayState, Res
from workers.drivers.ports import Driver, MeterSnapshot, Wallet
from workers.drivers.registers import registers_of
from workers.links.errors import LinkDown, NoAnswer
from workers.protocols.errors import FrameError, MeterRefused

from . import settings

KNOWN_VERSIONS = (SETTINGS_VERSION, CALENDAR_VERSION)


@dataclass(frozen=True, slots=True)
class Deed:
    """One command at one meter, with the bus in hand.

    `started`: an earlier life of the agent may have written already. `before_writing` is asked right
    before every write; what it raises ends the deed with the meter untouched. `now` gives the instant.
    """

    cmd: Cmd
    driver: Driver
    kind: str
    started: bool
    before_writing: Callable[[], Awaitable[None]]
    now: Callable[[], datetime]

    async def do(self) -> Res:
        """Do it once. Raises what `before_writing` raises, and nothing that a driver raises."""
        match self.cmd.op:
            case Op.VEND:
                return await self._vend()
            case Op.READ:
                return await self._read()
            case Op.WALLET:
                dar, wallet = await self._wallet()
                return self._res(dar, wallet)
            case Op.TARIFF:
                known = self.cmd.tariff_ver in KNOWN_VERSIONS
                return self._res(Dar.SUCCESS if known else Dar.NOT_SUPPORTED)
            case Op.PRICES | Op.CALENDAR | Op.THRESHOLDS | Op.LOAD_LIMITS:
                return await self._with_settings(None)
            case Op.SET_PRICES | Op.SET_CALENDAR | Op.SET_THRESHOLDS | Op.SET_LOAD_LIMITS:
                return await self._with_settings(await self._set())
            case Op.SET_CLOCK:
                return await self._with_reading(await self._set(), None)
            case _:
                return await self._switch()

    async def _vend(self) -> Res:
        """The wallet decides, before any write: M = N-1 takes the sale, M = N has it, else refuse."""
        number, amount = self.cmd.purchase_no, self.cmd.amount_fen
        assert number is not None
        assert amount is not None
        dar, wallet = await self._wallet()
        if wallet is None:
            if self.started:
                return self._res(Dar.NO_ANSWER)  # it may hold the money: only the wallet could tell
            return self._res(dar if dar in (Dar.REFUSED, Dar.NOT_SUPPORTED) else Dar.NOT_SENT)
        if wallet.purchase_count == number:
            return await self._with_reading(Dar.SUCCESS if self.started else Dar.DUPLICATE, wallet)
        if wallet.purchase_count != number - 1:
            return self._res(Dar.COUNT_WRONG, wallet)
        await self.before_writing()
        written = await _written(
            self.driver.credit(amount=Money.of_fen(amount), purchase_count=number)
        )
        _, after = await self._wallet()
        return await self._with_reading(_vended(written, after, number), after)

    async def _switch(self) -> Res:
        await self.before_writing()
        dar = await _written(_switching(self.driver, self.cmd.op))
        return await self._with_reading(dar, None)

    async def _set(self) -> Dar:
        await self.before_writing()
        return await _written(settings.write(self.driver, self.cmd, now=self.now()))

    async def _with_settings(self, written: Dar | None) -> Res:
        """What the meter holds; `written`: what came of a write before, which is what counts then."""
        read, held = await self._held()
        return replace(self._res(read if written is None else written), settings=held)

    async def _held(self) -> tuple[Dar, dict[str, int] | None]:
        try:
            with suppress(NoAnswer, FrameError):
                return Dar.SUCCESS, await settings.held(self.driver, self.cmd.op)
            return Dar.SUCCESS, await settings.held(self.driver, self.cmd.op)
        except (Unavailable, MeterRefused, Conflict) as error:
            return _dar_of(error), None

    async def _read(self) -> Res:
        dar, snapshot = await self._snapshot()
        return self._res(dar, None, snapshot)

    async def _with_reading(self, dar: Dar, wallet: Wallet | None) -> Res:
        """The relay is known from a reading only; without one it is simply not known."""
        _, snapshot = await self._snapshot()
        return self._res(dar, wallet, snapshot)

    async def _wallet(self) -> tuple[Dar, Wallet | None]:
        try:
            with suppress(NoAnswer, FrameError):
                return Dar.SUCCESS, await self.driver.wallet()
            return Dar.SUCCESS, await self.driver.wallet()
        except (Unavailable, MeterRefused, Conflict) as error:
            return _dar_of(error), None

    async def _snapshot(self) -> tuple[Dar, MeterSnapshot | None]:
        try:
            with suppress(NoAnswer, FrameError):
                return Dar.SUCCESS, await self.driver.read()
            return Dar.SUCCESS, await self.driver.read()
        except (Unavailable, MeterRefused, Conflict) as error:
            return _dar_of(error), None

    def _res(
        self, dar: Dar, wallet: Wallet | None = None, snapshot: MeterSnapshot | None = None
    ) -> Res:
        return Res(
            cmd_id=self.cmd.cmd_id,
            dar=dar,
            relay=None if snapshot is None else RelayState(snapshot.relay),
            wallet_fen=None if wallet is None else wallet.remaining.hao // HAO_PER_FEN,
            purchase_no=None if wallet is None else wallet.purchase_count,
            reading=None
            if snapshot is None
            else registers_of(snapshot, kind=self.kind, at=self.now()),
        )


def _vended(written: Dar, after: Wallet | None, number: int) -> Dar:
    """What a sale came to, by the wallet after it: the meter's word counts, not the write's answer."""
    if after is None:
        return Dar.NO_ANSWER if written is Dar.SUCCESS else written
    if after.purchase_count == number:
        return Dar.DUPLICATE if written is Dar.REFUSED else Dar.SUCCESS
    return Dar.BROKEN_ANSWER if written is Dar.SUCCESS else written


async def _switching(driver: Driver, op: Op) -> None:
    match op:
        case Op.TRIP:
            await driver.trip()
        case Op.KEEP_POWER:
            await driver.keep_power()
        case Op.RELEASE:
            await driver.release()
        case Op.CLOSE:
            await driver.close()
        case _:
            await driver.allow_close()


async def _written(writing: Awaitable[None]) -> Dar:
    """One write, never repeated here."""
    try:
        await writing
    except (Unavailable, MeterRefused, Conflict, InvalidInput) as error:
        return _dar_of(error)
    return Dar.SUCCESS


def _dar_of(error: Exception) -> Dar:
    match error:
        case LinkDown():
            return Dar.NOT_SENT
        case MeterRefused():
            return Dar.REFUSED
        case Conflict():
            return Dar.NOT_SUPPORTED
        case InvalidInput():
            return Dar.OUT_OF_RANGE
        case FrameError():
            return Dar.BROKEN_ANSWER
    return Dar.NO_ANSWER
