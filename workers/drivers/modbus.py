"""The driver of every Modbus meter: what a profile says, done over an exchange."""

from __future__ import annotations

from datetime import datetime

from backend.kernel.clock import CHINA, utc
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.money import Money
from workers.profiles.model import ClockField, Field, Profile
from workers.protocols import modbus
from workers.protocols.framing import Exchange
from workers.protocols.modbus import Question
from workers.protocols.values import RegisterType, read_int, to_words

from .ports import MeterFlags, MeterSnapshot, Relay, Wallet

_U32_MAX = 2**32 - 1
_U16_MAX = 2**16 - 1


class MeterDriver:
    """A meter of `profile` at unit `bus_address`; CanRead, and CanCredit and CanSwitch where the
    profile has a wallet, a sale and a switch."""

    def __init__(self, profile: Profile, bus_address: int, exchange: Exchange) -> None:
        self._profile = profile
        self._unit = bus_address
        self._exchange = exchange

    async def read(self) -> MeterSnapshot:
        """See CanRead.read: one exchange for each block that is not optional."""
        blocks: dict[str, bytes] = {}
        for block in self._profile.blocks:
            if block.optional:
                continue
            answer = await self._ask(
                modbus.read_registers(
                    unit=self._unit,
                    address=block.address,
                    count=block.count,
                    function=block.function,
                )
            )
            blocks[block.name] = modbus.registers_of(answer)
        return decode_snapshot(self._profile, blocks)

    async def wallet(self) -> Wallet:
        """See CanCredit.wallet."""
        place = self._profile.wallet
        if place is None:
            raise Conflict(f"{self._profile.model} holds no money")
        first = min(place.remaining, place.purchase_count)
        last = max(place.remaining + place.remaining_type.words, place.purchase_count + 1)
        answer = await self._ask(
            modbus.read_registers(unit=self._unit, address=first, count=last - first)
        )
        registers = modbus.registers_of(answer)
        order = self._profile.word_order
        fen = read_int(
            registers, at=place.remaining - first, kind=place.remaining_type, order=order
        )
        sales = read_int(
            registers, at=place.purchase_count - first, kind=RegisterType.U16, order=order
        )
        return Wallet(remaining=Money.of_fen(fen * place.fen), purchase_count=sales)

    async def credit(self, *, amount: Money, purchase_count: int) -> None:
        """See CanCredit.credit."""
        sale = self._profile.sale
        if sale is None:
            raise Conflict(f"{self._profile.model} cannot be sold to")
        if amount.hao <= 0 or amount.hao % 100 or amount.fen > _U32_MAX:
            raise InvalidInput("a sale is a whole number of fen above zero", field="amount")
        if not 0 < purchase_count <= _U16_MAX:
            raise InvalidInput("a purchase count is 1 to 65535", field="purchase_count")
        words = to_words(amount.fen, kind=RegisterType.U32, order=self._profile.word_order)
        values = (*words, purchase_count, 0)
        answer = await self._ask(
            modbus.private_write(unit=self._unit, address=sale.address, values=values)
        )
        modbus.accepted(answer)

    async def trip(self) -> None:
        """See CanSwitch.trip."""
        await self._switch("trip")

    async def keep_power(self) -> None:
        """See CanSwitch.keep_power."""
        await self._switch("keep_power")

    async def release(self) -> None:
        """See CanSwitch.release."""
        await self._switch("release")

    async def _switch(self, state: str) -> None:
        switch = self._profile.switch
        if switch is None:
            raise Conflict(f"{self._profile.model} cannot be switched")
        answer = await self._ask(
            modbus.write_registers(
                unit=self._unit, address=switch.address, values=switch.states[state]
            )
        )
        modbus.accepted(answer)

    async def _ask(self, question: Question) -> bytes:
        return await self._exchange(question.request, question.expected)


def decode_snapshot(profile: Profile, blocks: dict[str, bytes]) -> MeterSnapshot:
    """The snapshot in the register bytes of `blocks` (name to bytes): pure, also for stored bytes.

    Raises KeyError or IndexError when a block of the profile is missing or short.
    """
    starts = {block.name: block.address for block in profile.blocks}
    numbers: dict[str, int] = {}
    bands: dict[str, int] = {}
    for item in profile.fields:
        if item.block not in blocks:
            continue  # a field of an optional block that was not read
        value = _number(item, blocks[item.block], starts[item.block], profile) * item.multiply
        if item.target.startswith("bands."):
            bands[item.target.removeprefix("bands.")] = value
        else:
            numbers[item.target] = value
    wallet = profile.wallet
    remaining = numbers.get("remaining_fen")
    return MeterSnapshot(
        energy_wh=numbers["energy_wh"],
        raw=b"".join(blocks.values()),
        bands=bands,
        remaining=None if wallet is None or remaining is None else Money.of_fen(remaining),
        purchase_count=None if wallet is None else numbers.get("purchase_count"),
        relay=_relay(profile, blocks, starts),
        flags=MeterFlags(**_flags(profile, blocks, starts)),
        voltage_mv=numbers.get("voltage_mv"),
        current_ma=numbers.get("current_ma"),
        power_w=numbers.get("power_w"),
        meter_clock=_clock(profile.clock, blocks, starts),
    )


def _number(item: Field, registers: bytes, start: int, profile: Profile) -> int:
    return read_int(registers, at=item.register - start, kind=item.type, order=profile.word_order)


def _word(registers: bytes, at: int) -> int:
    return int.from_bytes(registers[2 * at : 2 * at + 2], "big")


def _relay(profile: Profile, blocks: dict[str, bytes], starts: dict[str, int]) -> Relay:
    place = profile.relay
    if place is None or place.block not in blocks:
        return Relay.UNKNOWN
    word = _word(blocks[place.block], place.register - starts[place.block])
    if word & place.closed_mask == place.closed_mask:
        return Relay.CLOSED
    return Relay.UNKNOWN if word & place.closed_mask else Relay.OPEN


def _flags(profile: Profile, blocks: dict[str, bytes], starts: dict[str, int]) -> dict[str, bool]:
    return {
        flag.name: bool(
            _word(blocks[flag.block], flag.register - starts[flag.block]) >> flag.bit & 1
        )
        for flag in profile.flags
        if flag.block in blocks
    }


def _clock(
    place: ClockField | None, blocks: dict[str, bytes], starts: dict[str, int]
) -> datetime | None:
    if place is None or place.block not in blocks:
        return None
    at = 2 * (place.register - starts[place.block])
    year, month, day, _, hour, minute, second = blocks[place.block][at : at + 7]
    try:
        local = datetime(2000 + year, month, day, hour, minute, second, tzinfo=CHINA)
    except ValueError:
        return None  # a meter whose clock was never set shows zeros
    return utc(local)
