"""Digests: one spelling, and a check that names what is wrong."""

from __future__ import annotations

import pytest

from chunks.chunk_id import check_digest, chunk_id_of, digest_of, parse_digest
from kit.errors import IntegrityError

# The first of the vectors that BLAKE3's authors publish: the digest of nothing.
NOTHING = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_digest_is_blake3() -> None:
    assert digest_of(b"").hex() == NOTHING


def test_chunk_id_is_the_first_half() -> None:
    assert chunk_id_of(digest_of(b"")).hex() == NOTHING[:32]


def test_digest_reads_back() -> None:
    assert parse_digest(NOTHING) == digest_of(b"")


@pytest.mark.parametrize(
    "text",
    [
        "",
        NOTHING[:-1],
        NOTHING + "0",
        NOTHING.upper(),
        "g" * 64,
        " " * 64,
        "é" * 64,
        "٣" * 64,
        "0x" * 32,
    ],
)
def test_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="hex"):
        parse_digest(text)


def test_changed_bytes_are_named() -> None:
    check_digest("the chunk", b"right", digest_of(b"right"))
    with pytest.raises(IntegrityError, match="the chunk"):
        check_digest("the chunk", b"wrong", digest_of(b"right"))
