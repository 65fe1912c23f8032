"""A sealed secret opens at its own place, under its own key, unchanged: or not at all."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.secrets import SealBroken, SecretBox, digest

OLD, NEW = os.urandom(32), os.urandom(32)
BOX = SecretBox({1: OLD, 2: NEW})
PLACE = "7/WECHAT_PAY/1900000001"
SECRET = {"apiv3_key": "k" * 32, "note": "钥匙"}


@given(st.dictionaries(st.text(), st.text()))
def test_what_was_sealed_opens_unchanged(secret: dict[str, str]) -> None:
    assert BOX.open(BOX.seal(secret, place=PLACE), place=PLACE) == secret


def test_a_sealed_secret_shows_nothing_of_itself_and_is_never_the_same_twice() -> None:
    one, two = BOX.seal(SECRET, place=PLACE), BOX.seal(SECRET, place=PLACE)
    assert b"kkkk" not in one
    assert one != two


@pytest.mark.parametrize("place", ["8/WECHAT_PAY/1900000001", "7/WECHAT_PAY/1900000002", ""])
def test_a_secret_copied_to_another_place_does_not_open_there(place: str) -> None:
    with pytest.raises(SealBroken, match="this place"):
        BOX.open(BOX.seal(SECRET, place=PLACE), place=place)


def test_every_flipped_bit_is_noticed() -> None:
    sealed = BOX.seal(SECRET, place=PLACE)
    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealBroken):
            BOX.open(bytes(flipped), place=PLACE)


def test_every_cut_off_end_is_noticed() -> None:
    sealed = BOX.seal(SECRET, place=PLACE)
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            BOX.open(sealed[:length], place=PLACE)


def test_the_newest_key_seals_and_older_ones_still_open() -> None:
    before = SecretBox({1: OLD}).seal(SECRET, place=PLACE)
    after = BOX.seal(SECRET, place=PLACE)
    assert (before[:2], after[:2]) == (b"\0\1", b"\0\2")
    assert BOX.open(before, place=PLACE) == SECRET
    with pytest.raises(SealBroken, match="not configured"):
        SecretBox({1: OLD}).open(after, place=PLACE)
    with pytest.raises(SealBroken, match="this place"):
        SecretBox({2: OLD}).open(after, place=PLACE)


def test_a_fingerprint_is_stable_over_key_rotation_and_needs_the_key() -> None:
    assert BOX.fingerprint("x") == SecretBox({1: OLD}).fingerprint("x")
    assert BOX.fingerprint("x") != SecretBox({1: NEW}).fingerprint("x")
    assert BOX.fingerprint("x") != BOX.fingerprint("y")
    assert BOX.fingerprint("x") != digest("x")


def test_every_purpose_has_keys_of_its_own_and_they_are_the_same_each_time() -> None:
    keys = BOX.keys_for("uplink")
    assert {version: len(key) for version, key in keys.items()} == {1: 32, 2: 32}
    assert keys == SecretBox({1: OLD, 2: NEW}).keys_for("uplink")
    every = {*keys.values(), *BOX.keys_for("other").values(), OLD, NEW}
    assert len(every) == 6
    assert BOX.fingerprint("kek|uplink") not in every
