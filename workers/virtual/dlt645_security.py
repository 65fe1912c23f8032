"""The security function 03 of a virtual prepaid DL/T 645 meter: what it checks, in a real one's order.

Source: reference/meter-protocols.md 1.11. Fields travel low byte first; amounts are binary fen.
"""

from __future__ import annotations

from dataclasses import replace

from .dlt645_state import State645
from .esam import SoftwareEsam

OTHER, REPEATED, NOT_PROVED, NO_IDENTITY = 0x01, 0x02, 0x04, 0x08
WRONG_CUSTOMER, WRONG_COUNT, TOO_MUCH = 0x10, 0x20, 0x40
_KEY_STATE = bytes(4)


class SecurityRefusal(Exception):
    """The two error bytes; nothing has changed."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def serve(
    state: State645, esam: SoftwareEsam | None, item: str, payload: bytes, *, count_off: int
) -> tuple[State645, bytes]:
    """(the state afterwards, the data of the answer). `payload` is what follows the operator code.

    Raises SecurityRefusal."""
    if esam is None:
        raise SecurityRefusal(OTHER)
    now = state.as_of
    if item == "070000FF":
        return state, _authenticate(esam, payload, now)
    if not esam.is_open(now):
        raise SecurityRefusal(NO_IDENTITY)
    if item == "078102FF":
        return state, _wallet(state, esam, count_off)
    if item in ("070101FF", "070102FF"):
        return _recharge(state, esam, item, payload, count_off), b""
    raise SecurityRefusal(OTHER)


def _authenticate(esam: SoftwareEsam, payload: bytes, now: int) -> bytes:
    if len(payload) != 24:
        raise SecurityRefusal(OTHER)
    cipher, random, dispersion = (payload[at : at + 8][::-1] for at in (0, 8, 16))
    challenge = esam.authenticate(cipher=cipher, random=random, dispersion=dispersion, now=now)
    if not challenge:
        raise SecurityRefusal(NO_IDENTITY)
    return challenge[::-1] + esam.serial[::-1]


def _wallet(state: State645, esam: SoftwareEsam, count_off: int) -> bytes:
    fen = (max(0, state.balance_hao) // 100).to_bytes(4, "big")
    count = (state.count + count_off).to_bytes(4, "big")
    parts = [fen, esam.mac("078102FF", fen), count, esam.mac("078102FF", count)]
    customer = bytes.fromhex(state.customer or "00" * 6)
    return b"".join(part[::-1] for part in (*parts, customer, _KEY_STATE))


def _recharge(
    state: State645, esam: SoftwareEsam, item: str, payload: bytes, count_off: int
) -> State645:
    if len(payload) != 22 or (item == "070101FF") != (state.customer == ""):
        raise SecurityRefusal(OTHER)
    places = ((0, 4), (4, 8), (8, 12), (12, 18), (18, 22))
    fen, count, mac_1, customer, mac_2 = (payload[begin:end][::-1] for begin, end in places)
    if item == "070102FF" and customer.hex() != state.customer:
        raise SecurityRefusal(WRONG_CUSTOMER)
    if not esam.proves(item, customer, mac_2):
        raise SecurityRefusal(NOT_PROVED)
    said, has = int.from_bytes(count, "big"), state.count + count_off
    if said == has:
        raise SecurityRefusal(REPEATED)
    if said != has + 1:
        raise SecurityRefusal(WRONG_COUNT)
    added = int.from_bytes(fen, "big") * 100
    most = int(bytes.fromhex(state.settings["04001004"])[::-1].hex()) * 100
    if added <= 0 or state.balance_hao + added > most:
        raise SecurityRefusal(TOO_MUCH)
    if not esam.proves(item, fen + count, mac_1):
        raise SecurityRefusal(NOT_PROVED)
    return replace(
        state,
        balance_hao=state.balance_hao + added,
        count=state.count + 1,
        customer=customer.hex(),
    )
