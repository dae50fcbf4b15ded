"""The trust bundle: what goes in comes out, and nothing hostile gets far."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunks.codec import compress
from kit.errors import FormatError
from manifests.trust_bundle import (
    BUNDLE_SIZE_MAX,
    DOCUMENT_COUNT_MAX,
    encode_bundle,
    parse_bundle,
)

NAMES = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,30}", fullmatch=True)
HEADER = b"PHTB" + struct.pack("<I", 1)


@given(st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=12))
def test_documents_come_out_as_they_went_in(documents: dict[str, bytes]) -> None:
    found = parse_bundle(encode_bundle(documents))
    assert found == documents
    assert list(found) == list(documents)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_bundle(HEADER + data)


@given(st.binary(min_size=1, max_size=200))
def test_any_other_plain_bytes_are_refused_or_read(plain: bytes) -> None:
    try:
        found = parse_bundle(HEADER + compress(plain))
    except FormatError:
        return
    assert sum(5 + len(name) + len(content) for name, content in found.items()) == len(plain)


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        (struct.pack("<BI", 1, 4) + b"a123", "ends amid a"),
        (struct.pack("<BI", 1, 2**32 - 1) + b"a", "ends amid a"),
        ((struct.pack("<BI", 1, 0) + b"a") * 2, "a twice"),
        (struct.pack("<BI", 4, 0) + b"../a", "of a name that none has"),
        (struct.pack("<BI", 0, 0), "of a name that none has"),
        (b"".join(struct.pack("<BI", 3, 0) + b"%03d" % n for n in range(65)), "too many"),
    ],
)
def test_a_lying_bundle_is_refused_and_said_why(plain: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        parse_bundle(HEADER + compress(plain))


def test_as_many_documents_as_may_be_are_read() -> None:
    documents = {str(n): b"" for n in range(DOCUMENT_COUNT_MAX)}
    assert parse_bundle(encode_bundle(documents)) == documents


def test_a_bundle_of_a_later_format_says_to_update() -> None:
    with pytest.raises(FormatError, match="update the program"):
        parse_bundle(b"PHTB" + struct.pack("<I", 2) + compress(b"x"))


def test_a_bomb_is_refused_before_it_is_opened() -> None:
    bomb = compress(bytes(64 << 20), 19)
    assert len(bomb) < BUNDLE_SIZE_MAX
    with pytest.raises(FormatError):
        parse_bundle(HEADER + bomb)
