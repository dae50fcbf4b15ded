"""Bundles of deltas: written and read; every rule of the index broken once, and named."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.bundle import TARGET_SIZE
from chunks.chunk_id import digest_of
from chunks.delta import DELTA_SIZE_MAX
from chunks.delta_bundle import DeltaBundleWriter, parse_delta_bundle
from chunks.slices import BUNDLE_SIZE_MAX, SliceList
from kit.errors import FormatError

A, B = digest_of(b"a"), digest_of(b"b")


def bundle_of(
    payloads: bytes,
    records: Sequence[tuple[bytes, int]],
    *,
    count: int | None = None,
    version: int = 1,
    magic: bytes = b"PHDELTAS",
) -> bytes:
    packed = b"".join(struct.pack("<32sI", *record) for record in records)
    tail = struct.pack("<II8s", len(records) if count is None else count, version, magic)
    return payloads + packed + tail


GOOD = [(A, 7), (B, 5)]


def test_the_good_bundle_is_read() -> None:
    deltas = parse_delta_bundle("x", bundle_of(bytes(12), GOOD))
    assert [(d.digest, d.offset, d.size) for d in deltas] == [(A, 0, 7), (B, 7, 5)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=40))
def test_what_was_written_is_read(payloads: list[bytes]) -> None:
    writer = DeltaBundleWriter()
    places = [writer.add(payload) for payload in payloads]
    bundle = writer.close()
    data = bytes(bundle.data)
    assert parse_delta_bundle("x", data) == bundle.deltas == tuple(places)
    for place, payload in zip(places, payloads, strict=True):
        assert data[place.offset : place.offset + place.size] == payload
        assert place.digest == digest_of(payload)
    assert bundle.bundle_id == SliceList.of(data).bundle_id


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "0 bytes"),
        (bundle_of(bytes(12), GOOD)[-16:], "16 bytes"),
        (bytes(BUNDLE_SIZE_MAX) + bundle_of(b"", GOOD), "at most"),
        (bundle_of(bytes(12), GOOD, magic=b"PHDELTAT"), "does not end in PHDELTAS"),
        (bundle_of(bytes(12), GOOD, magic=b"PHBUNDLE"), "does not end in PHDELTAS"),
        (bundle_of(bytes(12), GOOD, version=2), "format 2; this program reads 1"),
        (bundle_of(bytes(12), []), "cannot hold 0 deltas"),
        (bundle_of(bytes(12), GOOD, count=2**32 - 1), "cannot hold 4294967295"),
        (bundle_of(b"", GOOD), "cannot hold 2"),
        (bundle_of(bytes(12), [(A, 12), (B, 0)]), "a delta of 0 bytes"),
        (bundle_of(bytes(12), [(A, DELTA_SIZE_MAX + 1)]), "a delta of 8388609 bytes"),
        (bundle_of(bytes(13), GOOD), "do not add up"),
        (bundle_of(bytes(11), GOOD), "do not add up"),
        (bundle_of(bytes(12), GOOD, count=1), "do not add up"),
    ],
)
def test_every_broken_rule_is_named(data: bytes, rule: str) -> None:
    with pytest.raises(FormatError, match=rule) as raised:
        parse_delta_bundle("of the test", data)
    assert "of the test" in str(raised.value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 6), st.booleans())
def test_no_bytes_raise_anything_else(noise: bytes, count: int, has_tail: bool) -> None:
    data = bundle_of(noise, [], count=count) if has_tail else noise
    try:
        deltas = parse_delta_bundle("x", data)
    except FormatError:
        return
    assert sum(delta.size for delta in deltas) + 36 * len(deltas) + 16 == len(data)


def test_a_bundle_is_full_once_its_payloads_reach_16_mib() -> None:
    writer = DeltaBundleWriter()
    assert (writer.is_empty, writer.is_full) == (True, False)
    writer.add(bytes(DELTA_SIZE_MAX))
    writer.add(bytes(TARGET_SIZE - DELTA_SIZE_MAX - 1))
    assert (writer.is_empty, writer.is_full) == (False, False)
    writer.add(bytes(DELTA_SIZE_MAX))
    assert writer.is_full
    data = bytes(writer.close().data)
    assert len(data) <= BUNDLE_SIZE_MAX
    assert len(parse_delta_bundle("x", data)) == 3
