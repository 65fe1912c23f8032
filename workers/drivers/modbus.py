"""The driver of every Modbus meter: what a profile says, done over an exchange."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from workers.profiles.modbus_map import Block, ModbusMap
from workers.profiles.model import Profile
from workers.protocols import modbus
from workers.protocols.errors import MeterRefused
from workers.protocols.framing import Exchange
from workers.protocols.values import RegisterType, read_int, to_words

from .modbus_reader import RegistersTaken, reader_of
from .modbus_reading import blocks_to_read, fallback_blocks
from .modbus_settings import ModbusSettings
from .ports import MeterSnapshot, Taken, Wallet

_U32_MAX = 2**32 - 1
_U16_MAX = 2**16 - 1


class ModbusDriver(ModbusSettings):
    """A meter of `profile` at `unit` (1 to 247); what it can do is what its profile has."""

    __slots__ = ("_reader",)

    def __init__(self, profile: Profile, unit: int, exchange: Exchange) -> None:
        # All at one place and not by way of the bases: a sweep makes one for each meter it asks.
        layout = profile.map
        if not isinstance(layout, ModbusMap):
            raise InvalidInput(f"{profile.model} does not speak Modbus", field="profile")
        self._model = profile.model
        self._map = layout
        self._unit = unit
        self._exchange = exchange
        self._reader = reader_of(layout, profile.model)
        questions = self._reader.questions(unit)
        self.only_question = questions[0] if len(questions) == 1 else None

    async def read(self) -> MeterSnapshot:
        """See CanRead.read."""
        return (await self.take()).snapshot()

    def shown(self, answer: bytes) -> MeterSnapshot:
        """See CanRead.shown."""
        return self._reader.read(answer[3:-2])

    async def take(self, answer: bytes | None = None, /) -> Taken:
        """See CanRead.take: one exchange for each block that is not optional. A meter that refuses
        them is asked for the optional blocks that hold a total, if its profile has such."""
        reader, exchange = self._reader, self._exchange
        registers: list[bytes] = []
        try:
            for question in reader.questions(self._unit):
                frame = answer or await exchange(question.request, question.expected)
                registers.append(modbus.registers_of(frame))
                answer = None
        except MeterRefused:
            if not (names := fallback_blocks(self._map)):
                raise
            return reader.snapshot(await self._blocks(blocks_to_read(self._map, names)))
        return RegistersTaken(reader, b"".join(registers))

    async def _blocks(self, blocks: Iterable[Block]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for block in blocks:
            place = {"address": block.address, "count": block.count, "function": block.function}
            answer = await self._ask(modbus.read_registers(unit=self._unit, **place))
            found[block.name] = modbus.registers_of(answer)
        return found

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

    async def trip(self, *, until: datetime | None = None) -> None:
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
        question = modbus.forcing_write(
            function=switch.function,
            unit=self._unit,
            address=switch.address,
            values=switch.states[state],
        )
        modbus.check_taken(await self._ask(question))


def decode_snapshot(layout: ModbusMap, blocks: Mapping[str, bytes]) -> MeterSnapshot:
    """The snapshot in register bytes; see SnapshotReader.snapshot."""
    return reader_of(layout, "the profile").snapshot(blocks)
