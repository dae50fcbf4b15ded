"""Bundles: written and indexed; every rule of the index broken once, and named."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.bundle import (
    FIRST_TARGET_SIZE,
    LAUNCH_TARGET_SIZE,
    TAIL_SIZE,
    TARGET_SIZE,
    BundleWriter,
    index_size,
    parse_index,
    parse_tail,
    target_size,
)
from chunks.chunk_id import digest_of
from chunks.chunker import CHUNK_SIZE_MAX
from chunks.slices import BUNDLE_SIZE_MAX, SliceList
from kit.errors import FormatError

Record = tuple[bytes, int, int]
A, B = digest_of(b"a"), digest_of(b"b")


def index_of(
    records: Sequence[Record],
    *,
    count: int | None = None,
    version: int = 1,
    magic: bytes = b"PHBUNDLE",
) -> bytes:
    packed = b"".join(struct.pack("<32sII", *record) for record in records)
    return packed + struct.pack("<II8s", len(records) if count is None else count, version, magic)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=40, unique=True))
def test_what_was_written_is_indexed(contents: list[bytes]) -> None:
    writer = BundleWriter(TARGET_SIZE)
    for content in contents:
        writer.add(digest_of(content), 300, content)
    bundle = writer.close()
    data = bytes(bundle.data)

    count = parse_tail("x", data[-TAIL_SIZE:], len(data))
    assert count == len(contents)
    chunks = parse_index("x", data[-index_size(count) :], len(data))
    assert chunks == bundle.chunks
    for chunk, content in zip(chunks, contents, strict=True):
        assert data[chunk.offset : chunk.offset + chunk.stored_size] == content
        assert (chunk.digest, chunk.size) == (digest_of(content), 300)
    assert bundle.bundle_id == SliceList.of(data).bundle_id


GOOD = [(A, 10, 7), (B, 5, 5)]


def test_the_good_index_is_read() -> None:
    chunks = parse_index("x", index_of(GOOD), 12 + index_size(2))
    assert [(chunk.offset, chunk.stored_size) for chunk in chunks] == [(0, 7), (7, 5)]


@pytest.mark.parametrize(
    ("index", "bundle_size", "rule"),
    [
        (b"", 100, "at most"),
        (index_of(GOOD)[-15:], 100, "at most"),
        (index_of(GOOD), BUNDLE_SIZE_MAX + 1, "at most"),
        (index_of(GOOD, magic=b"PHBUNDLF"), 12 + index_size(2), "PHBUNDLE"),
        (index_of(GOOD, version=2), 12 + index_size(2), "format 2; this program reads 1"),
        (index_of([]), 12 + index_size(0), "cannot hold 0 chunks"),
        (index_of(GOOD, count=2**32 - 1), 12 + index_size(2), "cannot hold 4294967295"),
        (index_of(GOOD), index_size(2), "cannot hold 2"),
        (index_of(GOOD)[1:], 12 + index_size(2), "need an index of 96"),
        (b"\0" + index_of(GOOD), 12 + index_size(2), "need an index of 96"),
        (index_of([(A, 10, 0), (B, 5, 5)]), 5 + index_size(2), "10 bytes stored in 0"),
        (index_of([(A, 0, 0), (B, 5, 5)]), 5 + index_size(2), "0 bytes stored in 0"),
        (index_of([(A, 6, 7), (B, 5, 5)]), 12 + index_size(2), "6 bytes stored in 7"),
        (index_of([(A, CHUNK_SIZE_MAX + 1, 7)]), 7 + index_size(1), "stored in 7"),
        (index_of(GOOD), 13 + index_size(2), "do not add up"),
        (index_of(GOOD), 11 + index_size(2), "do not add up"),
        (index_of([(A, 10, 7), (A, 5, 5)]), 12 + index_size(2), "twice"),
    ],
)
def test_every_broken_rule_is_named(index: bytes, bundle_size: int, rule: str) -> None:
    with pytest.raises(FormatError, match=rule) as raised:
        parse_index("of the test", index, bundle_size)
    assert "of the test" in str(raised.value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, BUNDLE_SIZE_MAX + 10), st.booleans())
def test_no_bytes_raise_anything_else(noise: bytes, bundle_size: int, has_tail: bool) -> None:
    index = noise + index_of([], count=len(noise) // 40) if has_tail else noise
    try:
        chunks = parse_index("x", index, bundle_size)
    except FormatError:
        return
    assert sum(chunk.stored_size for chunk in chunks) + len(index) == bundle_size


def test_a_bundle_is_full_once_chunks_and_records_reach_the_target() -> None:
    writer = BundleWriter(100)
    writer.add(A, 59, bytes(59))
    assert not writer.is_full
    writer.add(B, 1, b"x")
    assert writer.is_full


def test_a_full_bundle_of_tiny_chunks_is_not_too_large() -> None:
    writer, number = BundleWriter(TARGET_SIZE), 0
    while not writer.is_full:
        writer.add(digest_of(b"%d" % number), 1, b"x")
        number += 1
    bundle = writer.close()
    assert len(bundle.data) <= BUNDLE_SIZE_MAX
    assert (
        len(parse_index("x", bytes(bundle.data[-index_size(number) :]), len(bundle.data))) == number
    )


def test_a_new_writer_is_empty() -> None:
    writer = BundleWriter(100)
    assert writer.is_empty
    writer.add(A, 1, b"x")
    assert not writer.is_empty


def test_the_first_bundles_of_the_first_group_are_smaller() -> None:
    assert target_size(0, 0) == FIRST_TARGET_SIZE
    assert target_size(0, 1) == target_size(0, 9) == LAUNCH_TARGET_SIZE
    assert target_size(1, 0) == target_size(7, 3) == TARGET_SIZE
