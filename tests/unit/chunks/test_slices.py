"""Slice lists: from a bundle's name to every slice of it, each believed only when checked."""

from __future__ import annotations

import random

import pytest

from chunks.chunk_id import Digest, digest_of
from chunks.slices import (
    BUNDLE_SIZE_MAX,
    SLICE_LIST_SIZE_MAX,
    SLICE_SIZE,
    SliceList,
    parse_slice_list,
)
from kit.errors import FormatError, IntegrityError

BUNDLE = random.Random(3).randbytes(2 * SLICE_SIZE + 5)


@pytest.mark.parametrize("size", [1, SLICE_SIZE - 1, SLICE_SIZE, SLICE_SIZE + 1, len(BUNDLE)])
def test_a_list_reads_back_and_checks_every_slice(size: int) -> None:
    bundle = BUNDLE[:size]
    made = SliceList.of(bundle)
    read = parse_slice_list(made.encode(), made.bundle_id)
    assert read == made
    spans = [read.span(index) for index in range(len(read.digests))]
    assert b"".join(bundle[start:end] for start, end in spans) == bundle
    for index, (start, end) in enumerate(spans):
        read.check(index, bundle[start:end])


def test_another_slice_is_refused() -> None:
    slices = SliceList.of(BUNDLE)
    with pytest.raises(IntegrityError, match="slice 1"):
        slices.check(1, BUNDLE[:SLICE_SIZE])


def test_the_list_of_another_bundle_is_refused() -> None:
    with pytest.raises(IntegrityError, match="slice list"):
        parse_slice_list(SliceList.of(b"a").encode(), SliceList.of(b"b").bundle_id)


def listed(size: int, count: int) -> bytes:
    return size.to_bytes(8, "little") + bytes(32 * count)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "only 0 bytes"),
        (listed(0, 0), "only 8 bytes"),
        (listed(0, 1), "claims 0 bytes"),
        (listed(BUNDLE_SIZE_MAX + 1, 33), "claims 33554433 bytes"),
        (listed(2**64 - 1, 1), "claims"),
        (listed(SLICE_SIZE, 2), "need 1 slice"),
        (listed(SLICE_SIZE + 1, 1), "need 2 slice"),
        (listed(1, 1)[:-1], "only 39 bytes"),
        (listed(1, 1) + b"\0", "need 1 slice"),
    ],
)
def test_a_list_with_the_right_digest_must_still_be_a_list(data: bytes, rule: str) -> None:
    with pytest.raises(FormatError, match=rule):
        parse_slice_list(data, digest_of(data))


def test_the_largest_list_has_the_size_it_is_said_to_have() -> None:
    largest = listed(BUNDLE_SIZE_MAX, BUNDLE_SIZE_MAX // SLICE_SIZE)
    assert len(largest) == SLICE_LIST_SIZE_MAX
    assert parse_slice_list(largest, digest_of(largest)).digests[31] == Digest(bytes(32))
