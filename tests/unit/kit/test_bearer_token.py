"""Bearer tokens: one issuer, one purpose, one algorithm, and an end."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.bearer_token import TokenKey, TokenVerifier
from kit.clock import ManualClock
from kit.errors import SettingsError, Unauthenticated

KEY = TokenKey.generate()
CLAIMS = {"iss": "us", "aud": "publishing", "iat": 1000, "exp": 2000, "sub": "acme"}


def verifier(now_s: float = 1500, key: TokenKey = KEY) -> TokenVerifier:
    return key.verifier(issuer="us", audience="publishing", clock=ManualClock(now_s))


def test_what_was_signed_is_read_back() -> None:
    assert verifier().verify(KEY.sign(CLAIMS)) == CLAIMS


def test_a_key_is_read_back_from_its_file() -> None:
    again = TokenKey.of_pem(KEY.private_pem)
    assert verifier().verify(again.sign(CLAIMS)) == CLAIMS
    with pytest.raises(SettingsError):
        TokenKey.of_pem(b"no key")


@pytest.mark.parametrize(
    ("changed", "now_s", "reason"),
    [
        ({}, 2000, "expired"),
        ({}, 900, "future"),
        ({"aud": "leases"}, 1500, "another purpose"),
        ({"iss": "them"}, 1500, "another purpose"),
        ({"exp": "tomorrow"}, 1500, "until when"),
        ({"exp": None}, 1500, "until when"),
    ],
)
def test_a_token_is_for_its_time_and_purpose(
    changed: dict[str, object], now_s: float, reason: str
) -> None:
    with pytest.raises(Unauthenticated, match=reason):
        verifier(now_s).verify(KEY.sign({**CLAIMS, **changed}))


def test_another_key_signs_in_vain() -> None:
    with pytest.raises(Unauthenticated):
        verifier().verify(TokenKey.generate().sign(CLAIMS))


@pytest.mark.parametrize("algorithm", ["none", "HS256", "EdDSA"])
def test_a_token_cannot_choose_its_algorithm(algorithm: str) -> None:
    _, payload, signature = KEY.sign(CLAIMS).split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).decode().rstrip("=")
    with pytest.raises(Unauthenticated):
        verifier().verify(f"{header}.{payload}.{signature}")


@given(st.text(max_size=200))
def test_no_text_is_a_token(text: str) -> None:
    with pytest.raises(Unauthenticated):
        verifier().verify(text)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_token_with_one_bit_wrong_is_none(at: int, flip: int) -> None:
    token = bytearray(KEY.sign(CLAIMS).encode())
    at %= token.rindex(b".")  # of the last letter of a signature not every bit counts
    token[at] ^= flip
    with pytest.raises(Unauthenticated):
        verifier().verify(token.decode("latin-1"))
