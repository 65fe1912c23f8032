"""The wallet of a DL/T 645 meter with an ESAM: identity, state, recharge (security function 03).

On the wire every field is low byte first. Amounts are binary fen and counts binary, four bytes each
(three public firmwares and head-ends agree). The meter takes a recharge only with its own count + 1
and says "recharge repeated" to the same count again, so a lost answer is found out by reading.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from workers.protocols import dlt645_requests as requests
from workers.protocols.dlt645_frame import Frame, parse
from workers.protocols.dlt645_functions import SECURITY_REFUSALS, refusal_bits
from workers.protocols.errors import LongAnswer, MeterRefused, ShortAnswer

from .cipher import CipherNotConfigured, CipherService, ForgedAnswer, Session
from .dlt645_line import Dlt645Line

AUTHENTICATE, OPEN_ACCOUNT, RECHARGE, STATE = "070000FF", "070101FF", "070102FF", "078102FF"
_NOT_AUTHENTICATED = 0x08  # bit 3 of the two error bytes
_STATE_SIZE = 26  # amount 4, MAC 4, count 4, MAC 4, customer 6, key state 4
_NOBODY = (bytes(6), b"\xff" * 6)


class _SessionOver(MeterRefused):
    """The meter knows of no identity authentication (any more)."""


_Payload = Callable[[Session], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class EsamState:
    """What the chip holds: `fen`, `count`, and the customer's number (6 bytes, high byte first)."""

    fen: int
    count: int
    customer: bytes


class EsamPurse:
    """The wallet behind `line`. One identity authentication serves all that is asked of one object."""

    def __init__(self, line: Dlt645Line) -> None:
        self._line = line
        self._session: Session | None = None
        self._customer: bytes | None = None

    async def state(self) -> EsamState:
        """Money and count, both proved by the chip.

        Raises CipherNotConfigured, CipherUnavailable, ForgedAnswer, LinkDown, NoAnswer, FrameError,
        MeterRefused."""
        session, data = await self._secure(STATE, _nothing)
        _sized(data, _STATE_SIZE)
        amount, amount_mac, count, count_mac = (_turned(data, at, 4) for at in (0, 4, 8, 12))
        cipher = self._cipher()
        for value, mac in ((amount, amount_mac), (count, count_mac)):
            if not await cipher.is_genuine(session=session, item=STATE, data=value, mac=mac):
                raise ForgedAnswer(f"the wallet of meter {self._line.address} is not proved")
        self._customer = _turned(data, 16, 6)
        return EsamState(
            fen=int.from_bytes(amount, "big"),
            count=int.from_bytes(count, "big"),
            customer=self._customer,
        )

    async def recharge(self, *, fen: int, count: int) -> None:
        """Add `fen` as purchase `count`, once. Errors as `state`; after NoAnswer or FrameError the
        meter may hold the money."""
        customer = (await self.state()).customer if self._customer is None else self._customer
        item = RECHARGE
        if customer in _NOBODY:
            # A new meter takes its first sale only together with a customer's number, which it keeps
            # and compares ever after: its own address is one that nobody has to remember.
            item, customer = OPEN_ACCOUNT, bytes.fromhex(self._line.address)
        self._customer = None  # whatever happens now, the next sale looks again
        cipher, money = self._cipher(), fen.to_bytes(4, "big") + count.to_bytes(4, "big")

        async def proved(session: Session) -> bytes:
            mac_1 = await cipher.mac(session=session, item=item, data=money)
            mac_2 = await cipher.mac(session=session, item=item, data=customer)
            parts = (money[:4], money[4:], mac_1, customer, mac_2)
            return b"".join(part[::-1] for part in parts)

        await self._secure(item, proved)

    async def _secure(self, item: str, payload: _Payload) -> tuple[Session, bytes]:
        """One order in a session; a session that the meter no longer knows is renewed once."""
        renewed = self._session is None
        while True:
            session = self._session or await self._authenticate()
            try:
                return session, await self._order(item, await payload(session))
            except _SessionOver:
                self._session = None
                if renewed:
                    raise
                renewed = True  # refused for this reason it did nothing: ask again, credit once

    async def _authenticate(self) -> Session:
        opening = await self._cipher().opening(meter=self._line.address)
        parts = (opening.cipher, opening.random, opening.dispersion)
        data = _sized(await self._order(AUTHENTICATE, b"".join(p[::-1] for p in parts)), 12)
        self._session = Session(opening, challenge=_turned(data, 0, 4), esam=_turned(data, 4, 8))
        return self._session

    async def _order(self, item: str, payload: bytes) -> bytes:
        line = self._line
        question = requests.security(
            address=line.address,
            di=item,
            operator=line.access.operator,
            payload=payload,
            wake_up=line.layout.wake_up,
        )
        return _accepted(parse(await line.ask(question)), item)

    def _cipher(self) -> CipherService:
        if self._line.access.cipher is None:
            raise CipherNotConfigured(
                "this meter's recharge needs a key machine; none is configured"
            )
        return self._line.access.cipher


async def _nothing(_: Session) -> bytes:
    return b""


def _accepted(answer: Frame, item: str) -> bytes:
    """The data after the identifier. Raises MeterRefused with the reasons in words."""
    if not answer.is_error:
        return answer.data[4:]
    code = int.from_bytes(answer.data, "little")
    # One byte is some makers' own code, in which these bits mean nothing.
    standard = len(answer.data) == 2
    why = ", ".join(refusal_bits(code, names=SECURITY_REFUSALS)) if standard else ""
    over = standard and bool(code & _NOT_AUTHENTICATED)
    raise (_SessionOver if over else MeterRefused)(
        f"meter {answer.address} refused {item}: {why or f'code {code:02X}'}", refusal=code
    )


def _turned(data: bytes, at: int, size: int) -> bytes:
    return data[at : at + size][::-1]


def _sized(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise ShortAnswer(f"{len(data)} data bytes, {size} are right")
    if len(data) > size:
        raise LongAnswer(f"{len(data)} data bytes, {size} are right")
    return data
