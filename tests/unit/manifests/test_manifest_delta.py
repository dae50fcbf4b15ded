"""Manifests told by other manifests: exact, small, bounded, and believed in nothing."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks import codec
from chunks.chunk_id import ChunkId, chunk_id_of, digest_of
from chunks.delta import BASE_SIZE_MAX, TARGET_SIZE_MAX, Method
from kit.errors import FormatError
from manifests.delta_index import StoredDelta, encode_delta_index
from manifests.documents import Root, encode
from manifests.manifest_delta import (
    PART_COUNT_MAX,
    apply_manifest_delta,
    encode_manifest_delta,
    new_pages_of,
    pages_of,
)
from manifests.model import BundleRef, ChunkTable
from manifests.page import EncodedPage
from tests.builds import TITLE, chunk_table, file, group_of
from tests.builds import pages_of as encoded_pages

SIZE = 300_000


def manifest(paths: Sequence[str], salts: Sequence[int]) -> tuple[Root, list[bytes]]:
    """Return a root, and root and pages as they are stored; each file is one chunk."""
    tables = [chunk_table([SIZE], salt) for salt in salts]
    table = ChunkTable(
        ids=np.concatenate([each.ids for each in tables]),
        sizes=np.full(len(salts), SIZE, np.uint32),
        stored_sizes=np.full(len(salts), SIZE // 2, np.uint32),
        bundle_indexes=np.zeros(len(salts), np.uint32),
        offsets=np.arange(len(salts), dtype=np.uint32) * np.uint32(SIZE // 2),
        bundles=(BundleRef(digest_of(b"bundle"), 1 << 30),),
    )
    entries = [file(path, SIZE) for path in paths]
    pages: list[EncodedPage] = encoded_pages(entries, table, range(len(salts)))
    root = Root(title=TITLE, groups=(group_of("launch", entries, pages),))
    return root, [encode(root), *(page.data for page in pages)]


def index(ids: Sequence[ChunkId]) -> bytes:
    bundle = BundleRef(digest_of(b"deltas"), 1 << 20)
    deltas = [StoredDelta(tuple(ids[:1]), tuple(ids[1:]), Method.HDIFF, bytes(16), bundle, 0, 9)]
    return encode_delta_index(deltas, dict.fromkeys(ids, 1000))


IDS = [chunk_id_of(digest_of(bytes([number]))) for number in range(40)]
_, OLD = manifest([f"data/{n:04}.pak" for n in range(900)], range(900))
_, NEW = manifest([f"data/{n:04}.pak" for n in range(900)], [*range(450), 5000, *range(451, 900)])
WANTED = [*NEW, index(IDS)]


def packed(base: Sequence[bytes], target: Sequence[bytes]) -> bytes:
    data = encode_manifest_delta(base, target)
    assert data is not None
    return data


DATA = packed(OLD, WANTED)


def test_everything_is_rebuilt_to_the_byte() -> None:
    assert len(OLD) > 2
    assert apply_manifest_delta(DATA, OLD) == WANTED


def test_what_repeats_the_old_manifest_costs_next_to_nothing() -> None:
    assert len(packed(OLD, NEW)) * 50 < sum(map(len, NEW))


def test_ids_that_the_old_manifest_has_cost_little_in_an_index() -> None:
    old_ids = [chunk_id_of(digest_of(f"{salt}/0".encode())) for salt in range(0, 900, 9)]
    known, unknown = index(old_ids), index([chunk_id_of(digest_of(i)) for i in old_ids])
    assert len(packed(OLD, [known])) < len(packed(OLD, [unknown])) // 2


def test_only_pages_that_the_base_has_not_are_new() -> None:
    old, _ = manifest(["a", "b"], [1, 2])
    assert new_pages_of(old, old) == []
    new, _ = manifest(["a", "c"], [1, 3])
    assert new_pages_of(new, old) == pages_of(new)


parts = st.lists(
    st.one_of(st.binary(min_size=1, max_size=300), st.sampled_from([*OLD, *WANTED])),
    min_size=1,
    max_size=5,
)


@given(parts, parts)
@settings(max_examples=60, deadline=None)
def test_any_objects_are_told_by_any_others(base: list[bytes], target: list[bytes]) -> None:
    data = encode_manifest_delta(base, target)
    if data is None:
        assert any(part[:4] in {b"PHPG", b"PHDX"} for part in (*base, *target))
    else:
        assert apply_manifest_delta(data, base) == target


@pytest.mark.parametrize("magic", [b"PHPG", b"PHDX"])
def test_what_only_begins_as_a_page_or_an_index_is_left_to_be_fetched(magic: bytes) -> None:
    assert encode_manifest_delta([b"1"], [magic]) is None
    assert encode_manifest_delta([magic], [b"1"]) is None


def test_what_another_library_packed_is_left_to_be_fetched() -> None:
    packed_less = NEW[1][:40] + codec.compress(codec.open_frame(NEW[1][40:], 1 << 20), 1)
    assert encode_manifest_delta(OLD, [packed_less]) is None


def test_what_is_too_large_is_left_to_be_fetched() -> None:
    assert encode_manifest_delta([], [bytes(TARGET_SIZE_MAX + 1)]) is None
    assert encode_manifest_delta([], [b"1"] * (PART_COUNT_MAX + 1)) is None
    assert encode_manifest_delta([bytes(BASE_SIZE_MAX), b"1"], [b"1"]) is None
    with pytest.raises(FormatError, match="opens to more"):
        apply_manifest_delta(DATA, [bytes(BASE_SIZE_MAX), b"1"])


def test_another_base_is_no_crash() -> None:
    try:
        made = apply_manifest_delta(DATA, OLD[:-1])
    except FormatError:
        return
    assert made != WANTED


HEADERS = [
    (b"PHPG", 1, 1, 0),
    (b"PHMD", 2, 1, 0),
    (b"PHMD", 1, 0, 0),
    (b"PHMD", 1, PART_COUNT_MAX + 1, 0),
    (b"PHMD", 1, 1, 1),
    (b"PHMD", 1, 4000, 0),
]


@pytest.mark.parametrize("header", HEADERS)
def test_impossible_headers_are_refused(header: tuple[bytes, int, int, int]) -> None:
    with pytest.raises(FormatError):
        apply_manifest_delta(struct.pack("<4sIII", *header) + DATA[16:], OLD)


@pytest.mark.parametrize("size", [0, TARGET_SIZE_MAX + 1, 0xFFFFFFFF])
def test_sizes_are_checked_before_anything_is_allocated(size: int) -> None:
    with pytest.raises(FormatError):
        apply_manifest_delta(struct.pack("<4sIIII", b"PHMD", 1, 1, 0, size) + DATA[24:], OLD)


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_no_flipped_byte_raises_anything_else(position: int, flip: int) -> None:
    raw = bytearray(DATA)
    raw[position] ^= flip
    try:
        apply_manifest_delta(raw, OLD)
    except FormatError:
        return


@given(st.integers(0, len(DATA) - 1))
@settings(max_examples=50, deadline=None)
def test_what_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(FormatError):
        apply_manifest_delta(DATA[:length], OLD)
