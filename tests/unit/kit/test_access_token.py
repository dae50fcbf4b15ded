"""Access tokens: what was signed comes back, and nothing else does."""

from __future__ import annotations

import base64

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.access_token import (
    KEY_SIZE,
    TOKEN_SIZE_MAX,
    InvalidToken,
    KeyId,
    decode_token,
    encode_token,
)

ID, KEY = KeyId("20261125-000000"), bytes(range(KEY_SIZE))
KEYS = {ID: KEY, KeyId("older"): bytes(KEY_SIZE)}
TEXTS = st.text(max_size=40)
CLAIMS = st.dictionaries(
    st.integers(-70_000, 70_000), TEXTS | st.integers() | st.binary(max_size=40), max_size=6
)


def _raw(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@given(CLAIMS, st.sampled_from(sorted(KEYS)))
def test_claims_come_back_as_they_were_signed(claims: dict[int, object], key_id: KeyId) -> None:
    token = encode_token(claims, key_id, KEYS[key_id])
    assert decode_token(token, KEYS) == (key_id, claims)


@given(CLAIMS, st.data())
def test_a_token_with_any_bit_flipped_is_refused(
    claims: dict[int, object], data: st.DataObject
) -> None:
    raw = bytearray(_raw(encode_token(claims, ID, KEY)))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidToken):
        decode_token(_text(bytes(raw)), KEYS)


@given(CLAIMS, st.data())
def test_a_token_cut_anywhere_or_prolonged_is_refused(
    claims: dict[int, object], data: st.DataObject
) -> None:
    raw = _raw(encode_token(claims, ID, KEY))
    for other in (raw[: data.draw(st.integers(0, len(raw) - 1))], raw + b"\x00"):
        with pytest.raises(InvalidToken):
            decode_token(_text(other), KEYS)


@given(st.text(max_size=300))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        decode_token(text, KEYS)


def test_other_spellings_of_one_token_are_refused() -> None:
    token = encode_token({2: "a"}, ID, KEY)
    for other in (token + "=", token + "\n", " " + token, token.replace("-", "+"), token + "A"):
        if other != token:
            with pytest.raises(InvalidToken):
                decode_token(other, KEYS)


def test_spare_bits_at_the_end_are_refused() -> None:
    token = next(t for t in (encode_token({2: "a" * n}, ID, KEY) for n in range(3)) if len(t) % 4)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
    assert _raw(other) == _raw(token)
    with pytest.raises(InvalidToken, match="one spelling"):
        decode_token(other, KEYS)


def test_a_token_by_another_key_is_refused_and_the_key_is_named() -> None:
    with pytest.raises(InvalidToken, match="'stranger'"):
        decode_token(encode_token({2: "a"}, KeyId("stranger"), KEY), KEYS)
    with pytest.raises(InvalidToken, match="not made by key"):
        decode_token(encode_token({2: "a"}, ID, bytes([7]) * KEY_SIZE), KEYS)


def test_another_algorithm_is_refused_before_anything_is_decoded() -> None:
    raw = _raw(encode_token({2: "a"}, ID, KEY))
    for algorithm in (b"\xa1\x01\x04", b"\xa1\x01\x00", b"\xa0\x01\x05"):
        with pytest.raises(InvalidToken, match="shape"):
            decode_token(_text(raw.replace(b"\xa1\x01\x05", algorithm)), KEYS)


def test_a_long_token_is_refused_by_its_length() -> None:
    with pytest.raises(InvalidToken, match="at most"):
        decode_token("A" * (TOKEN_SIZE_MAX + 1), KEYS)


def test_a_deeply_nested_token_is_refused_unread() -> None:
    nested = b"\x81" * 600
    for raw in (nested, b"\xd8\x3d\xd1\x84" + nested, b"\xc6" * 700):
        with pytest.raises(InvalidToken):
            decode_token(_text(raw), KEYS)


def test_the_frame_is_what_rfc_8392_and_rfc_9052_say() -> None:
    token = cbor2.loads(_raw(encode_token({2: "a"}, ID, KEY)))
    assert token.tag == 61
    frame = token.value
    assert frame.tag == 17
    protected, unprotected, payload, tag = frame.value
    assert cbor2.loads(protected) == {1: 5}
    assert unprotected == {4: ID.encode()}
    assert cbor2.loads(payload) == {2: "a"}
    assert len(tag) == 32
