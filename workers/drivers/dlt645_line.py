"""Questions to one DL/T 645 meter: whole items (also in parts), writes, orders, with its password."""

from __future__ import annotations

from backend.kernel.errors import InvalidInput, Unavailable
from workers.profiles.dlt645_map import Dlt645Map
from workers.protocols import dlt645_requests as requests
from workers.protocols.dlt645_answers import LongRead, Question, accepted
from workers.protocols.dlt645_frame import ALL_METERS, Frame
from workers.protocols.errors import LongAnswer, MeterRefused, ShortAnswer
from workers.protocols.framing import Exchange

from .access import Access, PasswordNotConfigured

NO_SUCH_DATA = 0x02  # bit 1 of the error byte
_MOST_PARTS = 8  # 1,600 bytes: more than any item that a driver asks for


class Dlt645Line:
    """The meter of 12 digits `address`. Raises InvalidInput for an address of more than one meter
    (999999999999 is everybody's, AA pairs are anybody's): an order to it would reach others too."""

    def __init__(
        self, *, model: str, layout: Dlt645Map, address: str, exchange: Exchange, access: Access
    ) -> None:
        if len(address) != 12 or not address.isdecimal() or not address.isascii():
            raise InvalidInput(f"{address!r} is no meter address of 12 digits", field="busAddress")
        if address == ALL_METERS:
            raise InvalidInput("all meters hear this address, none may", field="busAddress")
        self.model = model
        self.layout = layout
        self.address = address
        self.access = access
        self._exchange = exchange

    async def read(self, di: str) -> bytes:
        """The data of item `di`, all its parts. Raises LinkDown, NoAnswer, FrameError, MeterRefused."""
        edition, wake_up = self.layout.edition, self.layout.wake_up
        question = requests.read(address=self.address, di=di, edition=edition, wake_up=wake_up)
        item = LongRead.of(await self.ask(question), edition=edition)
        while item.has_more:
            if item.part == _MOST_PARTS:
                raise LongAnswer(f"item {di} has more than {_MOST_PARTS} parts")
            item = await self._with_next_part(item)
        return item.data

    async def read_if_any(self, di: str) -> bytes | None:
        """As `read`; None when the meter says that it has no such data."""
        try:
            return await self.read(di)
        except MeterRefused as refused:
            if refused.refusal & NO_SUCH_DATA:
                return None
            raise

    async def write(self, di: str, data: bytes, *, level: int) -> None:
        """Write an item. An error answer is no proof that nothing was written: read back.

        Raises PasswordNotConfigured, LinkDown, NoAnswer, FrameError, MeterRefused."""
        question = requests.write(
            address=self.address,
            di=di,
            data=data,
            password=self.password(level),
            operator=self.access.operator,
            edition=self.layout.edition,
            wake_up=self.layout.wake_up,
        )
        await self.obeyed(question)

    async def obeyed(self, question: Question) -> Frame:
        """The answer that is not a refusal. Raises LinkDown, NoAnswer, FrameError, MeterRefused."""
        return accepted(await self.ask(question), edition=self.layout.edition)

    async def ask(self, question: Question) -> bytes:
        """The whole answer frame, a refusal too. Raises LinkDown, NoAnswer, FrameError."""
        return await self._exchange(question.request, question.expected)

    def password(self, level: int) -> requests.Password:
        """The meter's password of `level`. Raises PasswordNotConfigured."""
        secret = self.access.passwords.get(level) or self.layout.passwords.get(level)
        if secret is None:
            raise PasswordNotConfigured(f"{self.model}: no password of level {level:02d} is known")
        return requests.Password(level, secret)

    async def _with_next_part(self, item: LongRead) -> LongRead:
        question = item.next_question(wake_up=self.layout.wake_up)
        try:
            longer = item.add(await self.ask(question))
        except Unavailable:
            # The standard's own rule: the same part is asked once more (reference 1.7).
            longer = item.add(await self.ask(question))
        if longer.has_more and len(longer.data) == len(item.data):
            raise ShortAnswer(f"part {longer.part} of item {item.di} is empty")
        return longer
