"""Which DL/T 645 frame answers a question; long answers put together; what a meter sends.

645 has no transaction number: a late answer to the last question looks like one to this question.
So an answer counts only when address, function, identifier and sequence number fit; every other
frame in the stream (echo, noise, late or foreign answer) is passed over and the wait goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from backend.kernel.errors import InvalidInput

from .dlt645_frame import (
    ANSWER_BIT,
    ERROR_BIT,
    HEADER_SIZE,
    MAX_WRITE,
    MORE_BIT,
    OFFSET,
    Edition,
    Frame,
    address_matches,
    address_to_wire,
    hunt,
    is_broadcast,
    parse,
)
from .dlt645_functions import (
    ANSWERED_WITH_DI,
    BROADCAST_TIME,
    DI_SIZE,
    MAY_HAVE_MORE,
    READ_ADDRESS,
    READ_NEXT,
    REFUSALS,
    SECURITY,
    WRITES,
    function_name,
    refusal_bits,
)
from .errors import (
    MeterRefused,
    ShortAnswer,
    WrongFunction,
    WrongItem,
    WrongSequence,
    WrongUnit,
)

_ANY = 0xAA
_LAST_SEQUENCE = 0xFF


@dataclass(frozen=True, slots=True)
class AnswerTo:
    """The answer a question must get (a Framing). `item`: identifier bytes the data begins with,
    empty when it holds none; `sequence`: the last data byte of a follow-up, None otherwise."""

    address: str
    function: int
    item: bytes = b""
    sequence: int | None = None
    shortest: int = 0
    may_have_more: bool = False

    def take(self, buffer: bytes, /) -> tuple[bytes | None, bytes]:
        """Cut the answer off `buffer`; see Framing.take. Passes over everything else, never raises."""
        return hunt(buffer, fits_head=self._fits_head, fits=self._fits)

    def check(self, frame: Frame) -> Frame:
        """`frame`, if it is the answer (a refusal is one).

        Raises WrongUnit, WrongFunction, WrongItem, WrongSequence, ShortAnswer.
        """
        if not address_matches(asked=self.address, answered=frame.address):
            raise WrongUnit(f"meter {frame.address} answered, {self.address} was asked")
        if frame.control not in self._controls():
            raise WrongFunction(f"control {frame.control:02X} answers no {self.function:02X}")
        if frame.is_error:
            return frame
        if len(frame.data) < self.shortest:
            raise ShortAnswer(f"{len(frame.data)} data bytes, {self.shortest} are the least")
        if not frame.data.startswith(self.item):
            got, wanted = frame.data[: len(self.item)][::-1], self.item[::-1]
            raise WrongItem(f"item {got.hex().upper()} came, {wanted.hex().upper()} was asked")
        if self.sequence is not None and frame.data[-1] != self.sequence:
            raise WrongSequence(f"part {frame.data[-1]} came, part {self.sequence} was asked")
        return frame

    def _controls(self) -> tuple[int, ...]:
        good, more = self.function | ANSWER_BIT, (MORE_BIT if self.may_have_more else 0)
        return good, good | ERROR_BIT, good | more

    def _fits_head(self, seen: bytes) -> bool:
        asked = address_to_wire(self.address)
        if any(want not in (_ANY, got) for want, got in zip(asked, seen[1:7], strict=False)):
            return False
        if len(seen) > 8 and seen[8] not in self._controls():
            return False
        if len(seen) < HEADER_SIZE:
            return True
        if seen[8] & ERROR_BIT:
            return 1 <= seen[9] <= 2
        item = bytes((byte + OFFSET) & 0xFF for byte in self.item)
        came = seen[HEADER_SIZE : HEADER_SIZE + len(item)]
        return seen[9] >= self.shortest and item.startswith(came)

    def _fits(self, frame: Frame) -> bool:
        return frame.is_error or self.sequence is None or frame.data[-1] == self.sequence


@dataclass(frozen=True, slots=True)
class Question:
    """A request frame ready for the wire and what its answer must look like."""

    request: bytes
    expected: AnswerTo


def answer_to(request: Frame, *, edition: Edition) -> AnswerTo:
    """What must answer `request`. Raises InvalidInput when nothing does (broadcast, no request)."""
    function = request.function
    silent = function == BROADCAST_TIME or is_broadcast(request.address)
    if request.control != function or function_name(function, edition=edition) is None or silent:
        raise InvalidInput(f"control {request.control:02X} to {request.address} gets no answer")
    item = request.data[: DI_SIZE[edition]] if function in ANSWERED_WITH_DI[edition] else b""
    numbered = edition == "2007" and function == READ_NEXT and bool(request.data)
    reads_address = edition == "2007" and function == READ_ADDRESS
    return AnswerTo(
        address=request.address,
        function=function,
        item=item,
        sequence=request.data[-1] if numbered else None,
        shortest=6 if reads_address else len(item) + numbered,
        may_have_more=function in MAY_HAVE_MORE[edition],
    )


def ask(request: Frame, *, edition: Edition = "2007") -> Question:
    """The question that `request` is. Raises InvalidInput as `answer_to`."""
    return Question(request.encode(), answer_to(request, edition=edition))


def accepted(frame: bytes, *, edition: Edition = "2007") -> Frame:
    """The answer in `frame` that is not a refusal.

    Raises MeterRefused (`refusal`: the error byte, or two for security), FrameError.
    """
    answer = parse(frame)
    if not answer.is_answer:
        raise WrongFunction(f"control {answer.control:02X} is no answer")
    if answer.is_error:
        code = int.from_bytes(answer.data, "little")
        plain = edition == "1997" or answer.function != SECURITY
        why = ", ".join(refusal_bits(code, names=REFUSALS[edition])) if plain else ""
        raise MeterRefused(
            f"meter {answer.address} refused function {answer.function:02X}: "
            f"{why or f'code {code:02X}'}",
            refusal=code,
        )
    return answer


@dataclass(frozen=True, slots=True)
class LongRead:
    """An answer in parts (1.7): `data` is what came so far, without identifier and numbers.

    Start with `of(first answer)`; while `has_more` ask `next_question()` and go on with `add`. After
    no answer ask the same question again: nothing is counted before its part is added.
    """

    address: str
    item: bytes
    data: bytes
    part: int
    has_more: bool
    edition: Edition = "2007"

    @classmethod
    def of(cls, first: bytes, *, edition: Edition = "2007") -> LongRead:
        """From the first answer (91 or B1; 81 or A1). Raises MeterRefused, FrameError."""
        frame = accepted(first, edition=edition)
        if function_name(frame.function, edition=edition) not in ("read", "read(1997)"):
            raise WrongFunction(f"control {frame.control:02X} is no answer to a read")
        size = DI_SIZE[edition]
        if len(frame.data) < size:
            raise ShortAnswer(f"{len(frame.data)} data bytes hold no identifier")
        item, data = frame.data[:size], frame.data[size:]
        return cls(frame.address, item, data, 0, frame.has_more, edition)

    @property
    def di(self) -> str:
        """The identifier, in human order."""
        return self.item[::-1].hex().upper()

    def next_question(self, *, wake_up: int = 4) -> Question:
        """Asks for the next part. Raises WrongSequence when there is none or the number ran out."""
        if not self.has_more or self.part == _LAST_SEQUENCE:
            raise WrongSequence(f"no part follows part {self.part}")
        number = bytes([self.part + 1]) if self.edition == "2007" else b""
        function = READ_NEXT if self.edition == "2007" else 0x02
        request = Frame(self.address, function, self.item + number, wake_up)
        return ask(request, edition=self.edition)

    def add(self, frame: bytes) -> LongRead:
        """With the next part. Raises MeterRefused, WrongUnit, WrongFunction, WrongItem,
        WrongSequence (repeated or skipped part), ShortAnswer, CrcError, FrameError."""
        expected = self.next_question().expected
        part = expected.check(accepted(frame, edition=self.edition))
        end = len(part.data) - (1 if expected.sequence is not None else 0)
        data = self.data + part.data[len(self.item) : end]
        return replace(self, data=data, part=self.part + 1, has_more=part.has_more)


def answer(request: Frame, *, data: bytes = b"", address: str = "", more: bool = False) -> Frame:
    """What a meter sends back. `address`: its real one when the request held a wildcard."""
    control = request.function | ANSWER_BIT | (MORE_BIT if more else 0)
    return Frame(address or request.address, control, data)


def refusal(request: Frame, *, code: int, address: str = "") -> Frame:
    """What a meter sends back when it refuses, with error byte `code`."""
    control = request.function | ANSWER_BIT | ERROR_BIT
    return Frame(address or request.address, control, bytes([code]))


def take_request(buffer: bytes, *, edition: Edition = "2007") -> tuple[bytes | None, bytes]:
    """Cut the first whole request off a meter's receive stream; see Framing.take. Never raises."""

    def fits_head(seen: bytes) -> bool:
        if len(seen) < HEADER_SIZE:
            return len(seen) < 9 or function_name(seen[8], edition=edition) is not None
        known = function_name(seen[8], edition=edition) is not None
        return known and (seen[8] not in WRITES[edition] or seen[9] <= MAX_WRITE)

    return hunt(buffer, fits_head=fits_head, fits=lambda _: True)
