"""Keys: published known answers, and what rests in one row does not open in another."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

from backend.uplink.errors import HandshakeForged, KeyBlobBroken
from backend.uplink.keys import (
    KeyName,
    KeyWrapper,
    WrappedKey,
    agree,
    derive,
    mac,
    new_gateway,
    new_root,
    root_place,
    session_keys,
)

from .uplink_world import wrapper


def test_key_wrap_gives_the_answer_of_rfc_3394_section_4_6() -> None:
    kek = bytes(range(32))
    data = bytes.fromhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
    blob = bytes.fromhex(
        "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
    )
    assert aes_key_wrap(kek, data) == blob
    assert aes_key_unwrap(kek, blob) == data


def test_hkdf_gives_the_answers_of_rfc_5869_cases_1_and_3() -> None:
    ikm = b"\x0b" * 22
    with_salt = derive(secret=ikm, salt=bytes(range(13)), info=bytes(range(0xF0, 0xFA)), length=42)
    assert with_salt.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    without = derive(secret=ikm, salt=b"", info=b"", length=42)
    assert without.hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


def test_hmac_gives_the_answers_of_rfc_4231_cases_1_and_2() -> None:
    assert mac(b"\x0b" * 20, b"Hi There").hex() == (
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    )
    assert mac(b"Jefe", b"what do ya want ", b"for nothing?").hex() == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_x25519_gives_the_answer_of_rfc_7748_section_6_1() -> None:
    bob = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    )
    alice = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    assert agree(bob, alice).hex() == (
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    )


def test_aes_256_gcm_gives_the_answer_of_the_gcm_specification_case_14() -> None:
    sealed = AESGCM(bytes(32)).encrypt(bytes(12), bytes(16), b"")
    assert sealed.hex() == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"


def test_session_keys_are_the_stated_formula_written_out_by_hand() -> None:
    root, shared, nonces, session = new_root(), os.urandom(32), os.urandom(32), os.urandom(8)
    key = KeyName(new_gateway(), 0x0102)
    made = session_keys(root=root, shared=shared, nonces=nonces, key=key, session=session)
    for direction, keys in ((b"U", made.up), (b"D", made.down)):
        info = b"uplink1|" + key.gateway + b"\x01\x02" + session + direction
        prk = mac(nonces, root + shared)
        first = mac(prk, info + b"\x01")
        second = mac(prk, first + info + b"\x02")
        assert (keys.key, keys.salt) == (first, second[:4])
    assert made.up.key != made.down.key


def test_a_wrapped_key_opens_in_its_own_row_only() -> None:
    keeper, gateway = wrapper(), new_gateway()
    here, root = KeyName(gateway, 1), new_root()
    wrapped = keeper.wrap(root, place=root_place(here))
    assert len(wrapped.blob) == 40
    assert keeper.unwrap(wrapped, place=root_place(here)) == root
    for other in (KeyName(gateway, 2), KeyName(new_gateway(), 1)):
        with pytest.raises(KeyBlobBroken):
            keeper.unwrap(wrapped, place=root_place(other))


def test_every_changed_bit_of_a_wrapped_key_is_refused() -> None:
    keeper, place = wrapper(), root_place(KeyName(new_gateway(), 1))
    blob = keeper.wrap(new_root(), place=place).blob
    for bit in range(len(blob) * 8):
        changed = (int.from_bytes(blob, "big") ^ 1 << bit).to_bytes(len(blob), "big")
        with pytest.raises(KeyBlobBroken):
            keeper.unwrap(WrappedKey(1, changed), place=place)
    with pytest.raises(KeyBlobBroken):
        keeper.unwrap(WrappedKey(1, blob[:-1]), place=place)


def test_a_new_kek_takes_over_row_by_row_and_the_batch_may_run_twice() -> None:
    first, second, place = os.urandom(32), os.urandom(32), root_place(KeyName(new_gateway(), 1))
    root = new_root()
    old = KeyWrapper({1: first}).wrap(root, place=place)
    both = KeyWrapper({1: first, 2: second})
    moved = both.rewrap(old, place=place)
    assert moved.kek_version == 2
    assert both.rewrap(moved, place=place) == moved
    assert KeyWrapper({2: second}).unwrap(moved, place=place) == root
    with pytest.raises(KeyBlobBroken):
        KeyWrapper({2: second}).unwrap(old, place=place)


def test_a_public_key_of_low_order_is_refused() -> None:
    for public in (bytes(32), b"\x01" + bytes(31), b"short"):
        with pytest.raises(HandshakeForged):
            agree(X25519PrivateKey.generate(), public)


def test_keys_do_not_show_in_a_printed_object() -> None:
    made = session_keys(
        root=new_root(),
        shared=b"",
        nonces=os.urandom(32),
        key=KeyName(new_gateway(), 1),
        session=bytes(8),
    )
    assert repr(made.up.key) not in repr(made)


def test_root_keys_and_gateway_ids_are_never_the_same_twice() -> None:
    assert all(one != two for one, two in pairwise(new_root() for _ in range(100)))
    assert len({new_gateway() for _ in range(1000)}) == 1000
