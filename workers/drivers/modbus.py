"""The driver of every Modbus meter: what a profile says, done over an exchange."""

from __future__ import annotations

from datetime import datetime

from backend.kernel.clock import CHINA, utc
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from workers.profiles.modbus_map import ClockField, Field, ModbusMap
from workers.profiles.model import Profile
from workers.protocols import modbus
from workers.protocols.framing import Exchange
from workers.protocols.modbus import Question
from workers.protocols.values import RegisterType, read_int, to_words

from .bare import BareDriver
from .ports import MeterFlags, MeterSnapshot, Relay, Wallet

_U32_MAX = 2**32 - 1
_U16_MAX = 2**16 - 1


class ModbusDriver(BareDriver):
    """A meter of `profile` at `unit` (1 to 247); what it can do is what its profile has."""

    def __init__(self, profile: Profile, unit: int, exchange: Exchange) -> None:
        super().__init__(profile.model)
        self._map = profile.map
        self._unit = unit
        self._exchange = exchange

    async def read(self) -> MeterSnapshot:
        """See CanRead.read: one exchange for each block that is not optional."""
        blocks: dict[str, bytes] = {}
        for block in self._map.blocks:
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
        return decode_snapshot(self._map, blocks)

    async def wallet(self) -> Wallet:
        """See CanCredit.wallet."""
        place = self._map.wallet
        if place is None:
            raise self._lacks("money of its own")
        first = min(place.remaining, place.purchase_count)
        last = max(place.remaining + place.remaining_type.words, place.purchase_count + 1)
        answer = await self._ask(
            modbus.read_registers(unit=self._unit, address=first, count=last - first)
        )
        registers = modbus.registers_of(answer)
        order = self._map.word_order
        fen = read_int(
            registers, at=place.remaining - first, kind=place.remaining_type, order=order
        )
        sales = read_int(
            registers, at=place.purchase_count - first, kind=RegisterType.U16, order=order
        )
        return Wallet(remaining=Money.of_fen(fen * place.fen), purchase_count=sales)

    async def credit(self, *, amount: Money, purchase_count: int) -> None:
        """See CanCredit.credit."""
        sale = self._map.sale
        if sale is None:
            raise self._lacks("a way to be sold to")
        if amount.hao <= 0 or amount.hao % 100 or amount.fen > _U32_MAX:
            raise InvalidInput("a sale is a whole number of fen above zero", field="amount")
        if not 0 < purchase_count <= _U16_MAX:
            raise InvalidInput("a purchase count is 1 to 65535", field="purchase_count")
        words = to_words(amount.fen, kind=RegisterType.U32, order=self._map.word_order)
        values = (*words, purchase_count, 0)
        answer = await self._ask(
            modbus.private_write(unit=self._unit, address=sale.address, values=values)
        )
        modbus.accepted(answer)

    async def trip(self) -> None:
        """See CanSwitch.trip."""
        await self._switch("trip")

    async def allow_close(self) -> None:
        """See CanSwitch.allow_close."""
        await self._switch("allow_close")

    async def close(self) -> None:
        """See CanSwitch.close."""
        await self._switch("close")

    async def keep_power(self) -> None:
        """See CanSwitch.keep_power."""
        await self._switch("keep_power")

    async def release(self) -> None:
        """See CanSwitch.release."""
        await self._switch("release")

    async def _switch(self, state: str) -> None:
        switch = self._map.switch
        if switch is None or state not in switch.states:
            raise self._lacks(f"a way to {state.replace('_', ' ')}")
        answer = await self._ask(
            modbus.write_registers(
                unit=self._unit, address=switch.address, values=switch.states[state]
            )
        )
        modbus.accepted(answer)

    async def _ask(self, question: Question) -> bytes:
        return await self._exchange(question.request, question.expected)


def decode_snapshot(layout: ModbusMap, blocks: dict[str, bytes]) -> MeterSnapshot:
    """The snapshot in the register bytes of `blocks` (name to bytes): pure, also for stored bytes.

    Raises KeyError or IndexError when a block of the profile is missing or short.
    """
    starts = {block.name: block.address for block in layout.blocks}
    numbers: dict[str, int] = {}
    bands: dict[str, int] = {}
    for item in layout.fields:
        if item.block not in blocks:
            continue  # a field of an optional block that was not read
        value = _number(item, blocks[item.block], starts[item.block], layout) * item.multiply
        if item.target.startswith("bands."):
            bands[item.target.removeprefix("bands.")] = value
        else:
            numbers[item.target] = value
    wallet = layout.wallet
    remaining = numbers.get("remaining_fen")
    return MeterSnapshot(
        total=numbers["total"],
        raw=b"".join(blocks.values()),
        bands=bands,
        remaining=None if wallet is None or remaining is None else Money.of_fen(remaining),
        purchase_count=None if wallet is None else numbers.get("purchase_count"),
        relay=_relay(layout, blocks, starts),
        flags=MeterFlags(**_flags(layout, blocks, starts)),
        voltage_mv=numbers.get("voltage_mv"),
        current_ma=numbers.get("current_ma"),
        power_w=numbers.get("power_w"),
        meter_clock=_clock(layout.clock, blocks, starts),
    )


def _number(item: Field, registers: bytes, start: int, layout: ModbusMap) -> int:
    return read_int(registers, at=item.register - start, kind=item.type, order=layout.word_order)


def _word(registers: bytes, at: int) -> int:
    return int.from_bytes(registers[2 * at : 2 * at + 2], "big")


def _relay(layout: ModbusMap, blocks: dict[str, bytes], starts: dict[str, int]) -> Relay:
    place = layout.relay
    if place is None or place.block not in blocks:
        return Relay.UNKNOWN
    word = _word(blocks[place.block], place.register - starts[place.block])
    if word & place.closed_mask == place.closed_mask:
        return Relay.CLOSED
    return Relay.UNKNOWN if word & place.closed_mask else Relay.OPEN


def _flags(layout: ModbusMap, blocks: dict[str, bytes], starts: dict[str, int]) -> dict[str, bool]:
    return {
        flag.name: bool(
            _word(blocks[flag.block], flag.register - starts[flag.block]) >> flag.bit & 1
        )
        for flag in layout.flags
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
