"""Enrolment: a claim works once, for its serial and group, within its time; five wrong tries kill it."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backend.uplink.enrol import (
    CLAIM_LIFE,
    SECRET_SIZE,
    Claim,
    Enrolment,
    GatewayEnrolment,
    enrol,
    new_claim,
)
from backend.uplink.errors import (
    ClaimExpired,
    ClaimLocked,
    ClaimRefused,
    ClaimSpent,
    HandshakeForged,
    KeyBlobBroken,
    UplinkRefused,
)
from backend.uplink.keys import KeyName, KeyWrapper, agree, derive, new_gateway, root_place

from .uplink_world import NOON, ClaimDrawer, wrapper

SERIAL = "GW-2026-0001"


class Town:
    """One claim, its store and the keys of the cloud."""

    def __init__(self) -> None:
        self.wrapper: KeyWrapper = wrapper()
        self.code, self.claim = new_claim(group_id=7, serial=SERIAL, wrapper=self.wrapper, at=NOON)
        self.store = ClaimDrawer(self.claim)
        self.key = KeyName(new_gateway(), 1)

    def box(self, *, code: str | None = None, serial: str = SERIAL) -> GatewayEnrolment:
        """A gateway into which somebody typed a code."""
        return GatewayEnrolment(code=code or self.code, serial=serial)

    async def ask(self, request: bytes, after: timedelta = timedelta(0)) -> Enrolment:
        """What the cloud does with a request."""
        return await enrol(
            request, key=self.key, store=self.store, wrapper=self.wrapper, at=NOON + after
        )

    def wrong_code(self) -> str:
        """A well-formed code with the right claim id and another secret."""
        other, _ = new_claim(group_id=7, serial=SERIAL, wrapper=self.wrapper, at=NOON)
        return _code(self.claim.claim_id, _raw(other)[8:24])

    @property
    def row(self) -> Claim:
        """The claim as it now rests."""
        return self.store.claims[self.claim.claim_id]


def _raw(code: str) -> bytes:
    return base64.b32decode(code.replace("-", ""))


def _code(claim_id: bytes, secret: bytes) -> str:
    for check in range(256):
        code = base64.b32encode(claim_id + secret + bytes([check])).decode()
        try:
            GatewayEnrolment(code=code, serial=SERIAL)
        except ClaimRefused:
            continue
        return code
    raise AssertionError("one of 256 checksums is right")


@pytest.fixture
def town() -> Town:
    """A fresh claim."""
    return Town()


async def test_a_claim_gives_the_gateway_the_key_that_the_cloud_stores(town: Town) -> None:
    box = town.box()
    done = await town.ask(box.request)
    key, root = box.finish(done.answer)
    assert key == done.key == town.key
    assert town.wrapper.unwrap(done.wrapped, place=root_place(key)) == root
    assert (done.group_id, done.serial) == (7, SERIAL)
    assert root not in done.answer


async def test_a_claim_is_used_once(town: Town) -> None:
    box = town.box()
    await town.ask(box.request)
    for request in (box.request, town.box().request):
        with pytest.raises(ClaimSpent) as refused:
            await town.ask(request)
        assert refused.value.alarmed


async def test_of_many_requests_at_once_one_wins() -> None:
    town = Town()
    gate = asyncio.Barrier(10)

    class Slow(ClaimDrawer):
        """Lets everybody find the claim unspent before anybody spends it."""

        async def find(self, claim_id: bytes) -> Claim | None:
            found = await super().find(claim_id)
            await gate.wait()
            return found

    town.store = Slow(town.claim)
    got = await asyncio.gather(
        *(town.ask(town.box().request) for _ in range(10)), return_exceptions=True
    )
    assert [type(one) for one in got].count(Enrolment) == 1
    assert [type(one) for one in got].count(ClaimSpent) == 9


async def test_five_wrong_codes_lock_the_claim_even_for_the_right_one(town: Town) -> None:
    wrong = town.wrong_code()
    for _ in range(4):
        with pytest.raises(ClaimRefused):
            await town.ask(town.box(code=wrong).request)
    with pytest.raises(ClaimLocked) as refused:
        await town.ask(town.box(code=wrong).request)
    assert refused.value.alarmed
    with pytest.raises(ClaimLocked):
        await town.ask(town.box().request)
    assert town.row.spent_at is None


async def test_four_wrong_codes_do_not_stop_the_right_one(town: Town) -> None:
    for _ in range(4):
        with pytest.raises(ClaimRefused):
            await town.ask(town.box(code=town.wrong_code()).request)
    assert (await town.ask(town.box().request)).group_id == 7


async def test_a_claim_for_another_serial_is_refused_and_counted(town: Town) -> None:
    with pytest.raises(ClaimRefused):
        await town.ask(town.box(serial="GW-OTHER").request)
    assert town.row.wrong_tries == 1


async def test_a_claim_expires(town: Town) -> None:
    with pytest.raises(ClaimExpired):
        await town.ask(town.box().request, CLAIM_LIFE)
    assert (await town.ask(town.box().request, CLAIM_LIFE - timedelta(seconds=1))).group_id == 7


async def test_an_unknown_claim_is_refused(town: Town) -> None:
    code, _ = new_claim(group_id=7, serial=SERIAL, wrapper=town.wrapper, at=NOON)
    with pytest.raises(ClaimRefused):
        await town.ask(town.box(code=code).request)


@pytest.mark.parametrize(("group_id", "serial"), [(8, SERIAL), (7, "GW-OTHER")])
async def test_a_claim_row_moved_to_another_group_or_serial_is_dead(
    town: Town, group_id: int, serial: str
) -> None:
    moved = replace(town.claim, group_id=group_id, serial=serial)
    town.store.claims[moved.claim_id] = moved
    with pytest.raises(KeyBlobBroken):
        await town.ask(town.box(serial=moved.serial).request)


async def test_every_changed_bit_of_a_request_is_refused(town: Town) -> None:
    request = town.box().request
    for bit in range(len(request) * 8):
        town.store.claims[town.claim.claim_id] = town.claim
        changed = (int.from_bytes(request, "big") ^ 1 << bit).to_bytes(len(request), "big")
        with pytest.raises(UplinkRefused):
            await town.ask(changed)
    assert (await town.ask(request)).group_id == 7


async def test_every_changed_bit_of_an_answer_is_refused(town: Town) -> None:
    box = town.box()
    answer = (await town.ask(box.request)).answer
    for bit in range(len(answer) * 8):
        changed = (int.from_bytes(answer, "big") ^ 1 << bit).to_bytes(len(answer), "big")
        with pytest.raises(UplinkRefused):
            box.finish(changed)
    assert box.finish(answer)[0] == town.key


async def test_an_answer_made_without_the_claim_is_refused(town: Town) -> None:
    box = town.box()
    answer = (await town.ask(box.request)).answer
    stranger = X25519PrivateKey.generate().public_key().public_bytes_raw()
    for forged in (stranger + answer[32:], bytes(32) + answer[32:]):
        with pytest.raises(HandshakeForged):
            box.finish(forged)
    with pytest.raises(HandshakeForged):
        town.box().finish(answer)


def test_who_hears_the_request_but_lacks_the_claim_cannot_answer_it(town: Town) -> None:
    box, liar = town.box(), X25519PrivateKey.generate()
    signed, public = box.request[:-32], liar.public_key().public_bytes_raw()
    shared = agree(liar, signed[-32:])
    for salt in (b"", town.claim.claim_id, bytes(32)):
        key = derive(secret=shared, salt=salt, info=b"enrol1|" + signed + public)
        grant = town.key.encoded + bytes(32)
        with pytest.raises(HandshakeForged):
            box.finish(public + AESGCM(key).encrypt(bytes(12), grant, signed))


def test_a_code_has_128_secret_bits_and_rests_only_as_a_wrapped_image(town: Town) -> None:
    assert SECRET_SIZE * 8 >= 100
    assert [len(part) for part in town.code.split("-")] == [5] * 8
    secret = _raw(town.code)[8:24]
    assert secret not in town.claim.verifier.blob
    assert secret.hex() not in repr(town.claim)


def test_a_code_may_be_typed_in_small_letters_with_blanks_and_a_slip_costs_no_try(
    town: Town,
) -> None:
    assert town.box(code=town.code.lower().replace("-", " ")).request
    slips = 0
    for place, letter in enumerate(town.code):
        if letter != "-":
            typed = town.code[:place] + ("A" if letter != "A" else "B") + town.code[place + 1 :]
            try:
                town.box(code=typed)
            except ClaimRefused:
                slips += 1
    assert slips >= 30, "one slip in 256 passes the checksum and is a wrong try"
    for bad in ("", "0189", "A" * 40 + "B"):
        with pytest.raises(ClaimRefused):
            GatewayEnrolment(code=bad, serial=SERIAL)


def test_a_claim_may_not_live_longer_than_72_hours_nor_name_a_strange_serial() -> None:
    for serial, life in (
        (SERIAL, CLAIM_LIFE + timedelta(seconds=1)),
        (SERIAL, timedelta(0)),
        ("no blanks", CLAIM_LIFE),
        ("", CLAIM_LIFE),
    ):
        with pytest.raises(ValueError, match="a claim needs"):
            new_claim(group_id=1, serial=serial, wrapper=wrapper(), at=NOON, life=life)
