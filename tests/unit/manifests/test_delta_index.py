"""Delta indexes: every rule broken once and named; and no bytes whatever raise anything else."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks import codec
from chunks.chunk_id import ChunkId, Digest, digest_of
from chunks.delta import BASE_SIZE_MAX, DELTA_SIZE_MAX, TARGET_SIZE_MAX, Method
from kit.errors import FormatError, IntegrityError, InvalidInput
from manifests.delta_index import (
    DELTA_COUNT_MAX,
    PLAIN_SIZE_MAX,
    DeltaIndex,
    StoredDelta,
    encode_delta_index,
    parse_delta_index,
)
from manifests.documents import CHUNK_COUNT_MAX, ObjectRef
from manifests.model import BundleRef


def planes(numbers: Sequence[int]) -> bytes:
    rows = [number.to_bytes(4, "little") for number in numbers]
    return bytes(row[plane] for plane in range(4) for row in rows)


@dataclass(frozen=True)
class RawIndex:
    """An index in the words of the specification, so that any rule can be broken.

    As it stands: a delta that makes two chunks of one, one that makes another of that same, and
    one without a base; the first two lie in one bundle, with a gap of 5 bytes between them.
    """

    magic: bytes = b"PHDX"
    version: int = 1
    reserved: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    """What the header says, where it differs from what there is."""
    ids: Sequence[bytes] = tuple(bytes([letter]) * 16 for letter in b"abcde")
    chunk_sizes: Sequence[int] = (100, 200, 300, 400, 500)
    methods: Sequence[int] = (1, 0, 3)
    targets: Sequence[int] = (2, 1, 1)
    bases: Sequence[int] = (1, 1, 0)
    sizes: Sequence[int] = (50, 60, 70)
    homes: Sequence[int] = (0, 0, 1)
    gaps: Sequence[int] = (10, 5, 0)
    checks: Sequence[bytes] = (b"x" * 16, b"y" * 16, b"z" * 16)
    uses: Sequence[int] = (0, 0, 0, 0, 2, 0)
    """Rows 0 1 2, 3 2, 4."""
    bundle_ids: Sequence[bytes] = (b"B" * 32, b"C" * 32)
    bundle_sizes: Sequence[int] = (125, 70)

    def plain(self) -> bytes:
        return b"".join(
            (
                *self.ids,
                planes(self.chunk_sizes),
                bytes(self.methods),
                planes(self.targets),
                planes(self.bases),
                planes(self.sizes),
                planes(self.homes),
                planes(self.gaps),
                *self.checks,
                planes(self.uses),
                *self.bundle_ids,
                planes(self.bundle_sizes),
            )
        )

    def header(self) -> bytes:
        counts = {
            "D": len(self.methods),
            "C": len(self.ids),
            "U": len(self.uses),
            "B": len(self.bundle_ids),
        } | self.counts
        return struct.pack("<4sI5I", self.magic, self.version, *counts.values(), self.reserved)

    def encode(self) -> bytes:
        return self.header() + codec.compress(self.plain())


def parse(data: bytes) -> DeltaIndex:
    return parse_delta_index(data, ObjectRef(digest=digest_of(data).hex(), size=len(data)))


GOOD = RawIndex()
ONE = ChunkId(b"c" * 16)


def test_the_good_index_is_read() -> None:
    index = parse(GOOD.encode())
    first, second, third = (index.delta(at) for at in range(len(index)))
    in_first = BundleRef(Digest(b"B" * 32), 125)
    assert first == StoredDelta(
        targets=(ChunkId(b"a" * 16), ChunkId(b"b" * 16)),
        bases=(ONE,),
        method=Method.HDIFF,
        check=b"x" * 16,
        bundle=in_first,
        offset=10,
        size=50,
    )
    assert (second.targets, second.bases) == ((ChunkId(b"d" * 16),), (ONE,))
    assert (second.bundle, second.offset) == (in_first, 65)
    assert (third.targets, third.bases, third.offset) == ((ChunkId(b"e" * 16),), (), 0)
    assert (third.method, third.bundle.size) == (Method.LZMA, 70)


NOTHING = RawIndex(
    ids=(), chunk_sizes=(), methods=(), targets=(), bases=(), sizes=(), homes=(), gaps=(),
    checks=(), uses=(), bundle_ids=(), bundle_sizes=(),
)  # fmt: skip


def one_delta(targets: int, bases: int, chunk_size: int) -> RawIndex:
    count = targets + bases
    return RawIndex(
        ids=tuple(bytes([at]) * 16 for at in range(count)), chunk_sizes=(chunk_size,) * count,
        methods=(0,), targets=(targets,), bases=(bases,), sizes=(70,), homes=(0,), gaps=(0,),
        checks=(b"x" * 16,), uses=(0,) * count, bundle_ids=(b"B" * 32,), bundle_sizes=(70,),
    )  # fmt: skip


BROKEN = {
    "magic": (replace(GOOD, magic=b"PHDY"), "is no delta index"),
    "version": (replace(GOOD, version=2), "format 2; this program reads 1: update"),
    "reserved": (replace(GOOD, reserved=1), "impossible counts"),
    "nothing at all": (NOTHING, "impossible counts"),
    "more deltas than chunks": (replace(GOOD, counts={"C": 2}), "impossible counts"),
    "more chunks than uses": (replace(GOOD, counts={"U": 4}), "impossible counts"),
    "more bundles than deltas": (replace(GOOD, counts={"B": 4}), "impossible counts"),
    "no bundle": (replace(GOOD, counts={"B": 0}), "impossible counts"),
    "empty chunk": (replace(GOOD, chunk_sizes=(100, 0, 300, 400, 500)), "impossible size"),
    "large chunk": (
        replace(GOOD, chunk_sizes=(100, (1 << 20) + 1, 300, 400, 500)),
        "impossible size",
    ),
    "chunk twice": (replace(GOOD, ids=(b"a" * 16,) * 2 + tuple(GOOD.ids[2:])), "a chunk twice"),
    "method": (replace(GOOD, methods=(1, 0, 6)), "unknown method"),
    "method 255": (replace(GOOD, methods=(255, 0, 3)), "unknown method"),
    "delta that makes nothing": (replace(GOOD, targets=(3, 0, 1)), "do not add up"),
    "a use too few": (replace(GOOD, bases=(1, 1, 1)), "do not add up"),
    "a use too many": (replace(GOOD, bases=(1, 0, 0)), "do not add up"),
    "uses far too many": (replace(GOOD, bases=(1, 2**32 - 1, 0)), "do not add up"),
    "empty delta": (replace(GOOD, sizes=(50, 0, 70)), "delta of impossible size"),
    "large delta": (
        replace(GOOD, sizes=(50, 60, DELTA_SIZE_MAX + 1), bundle_sizes=(125, 16 << 20)),
        "delta of impossible size",
    ),
    "bundle that is not there": (replace(GOOD, homes=(0, 0, 2)), "use its bundles"),
    "bundle that is far away": (replace(GOOD, homes=(0, 1, 2**32 - 1)), "use its bundles"),
    "bundle that is not used": (replace(GOOD, homes=(0, 0, 0)), "use its bundles"),
    "bundle too large": (replace(GOOD, bundle_sizes=(125, (32 << 20) + 1)), "bundle of more than"),
    "delta behind its bundle": (replace(GOOD, bundle_sizes=(124, 70)), "out of its bundle"),
    "delta far behind": (replace(GOOD, gaps=(10, 2**31, 0)), "out of its bundle"),
    "delta before its bundle": (replace(GOOD, gaps=(2**32 - 1, 5, 0)), "out of its bundle"),
    "use before the first": (replace(GOOD, uses=(0, 2, 0, 0, 0, 0)), "before the first chunk"),
    "use far before": (replace(GOOD, uses=(0, 0, 0, 0, 2**32 - 1, 0)), "before the first"),
    "chunk that is not used": (replace(GOOD, uses=(0, 0, 0, 1, 1, 0)), "no delta makes or needs"),
    "use of one more chunk": (replace(GOOD, uses=(0,) * 6), "no delta makes or needs"),
    "made twice": (replace(GOOD, uses=(0, 0, 0, 3, 0, 0)), "makes a chunk twice"),
    "made twice by one": (
        replace(GOOD, uses=(0, 1, 0, 0, 1, 0), ids=GOOD.ids[:4], chunk_sizes=GOOD.chunk_sizes[:4]),
        "makes a chunk twice",
    ),
    "made of itself": (
        replace(GOOD, uses=(0, 0, 2, 0, 0, 0)),
        "needs a chunk that it makes",
    ),
    "made of what another makes": (
        replace(GOOD, uses=(0, 0, 0, 0, 4, 0)),
        "needs a chunk that it makes",
    ),
    "target too large": (one_delta(17, 0, 1 << 20), "more bytes than one may"),
    "base too large": (one_delta(1, 25, 1 << 20), "more bytes than one may"),
}


@pytest.mark.parametrize(("index", "rule"), BROKEN.values(), ids=BROKEN.keys())
def test_every_broken_rule_is_named(index: RawIndex, rule: str) -> None:
    with pytest.raises(FormatError, match=rule) as raised:
        parse(index.encode())
    assert digest_of(index.encode()).hex() in str(raised.value)


def test_the_largest_delta_is_read() -> None:
    assert (TARGET_SIZE_MAX, BASE_SIZE_MAX) == (16 << 20, 24 << 20)
    assert len(parse(one_delta(16, 24, 1 << 20).encode())) == 1


def test_an_index_is_believed_only_by_its_digest() -> None:
    data = GOOD.encode()
    with pytest.raises(IntegrityError, match="delta index"):
        parse_delta_index(data, ObjectRef(digest=digest_of(b"").hex(), size=len(data)))


def test_an_index_is_as_long_as_its_head_says() -> None:
    data = GOOD.encode()
    with pytest.raises(FormatError, match="its head says"):
        parse_delta_index(data, ObjectRef(digest=digest_of(data).hex(), size=len(data) + 1))


@pytest.mark.parametrize("length", range(len(GOOD.encode())))
def test_an_index_cut_short_anywhere_is_refused(length: int) -> None:
    with pytest.raises(FormatError):
        parse(GOOD.encode()[:length])


def test_bytes_behind_the_frame_are_refused() -> None:
    with pytest.raises(FormatError, match="damaged"):
        parse(GOOD.encode() + b"\0")


ALL = 2**32 - 1
BOMBS = {
    "deltas": {"D": ALL, "C": ALL, "U": ALL},
    "deltas, one too many": {"D": DELTA_COUNT_MAX + 1, "C": CHUNK_COUNT_MAX, "U": CHUNK_COUNT_MAX},
    "chunks": {"C": ALL, "U": ALL},
    "uses": {"U": ALL},
    "uses, one too many": {"U": CHUNK_COUNT_MAX + 1},
    "bundles": {"B": ALL, "D": ALL, "C": ALL, "U": ALL},
    "all within their own limits": {
        "D": DELTA_COUNT_MAX,
        "C": CHUNK_COUNT_MAX,
        "U": CHUNK_COUNT_MAX,
    },
}


@pytest.mark.parametrize("counts", BOMBS.values(), ids=BOMBS.keys())
def test_counts_are_checked_before_anything_is_allocated(counts: dict[str, int]) -> None:
    with pytest.raises(FormatError, match=r"impossible counts|would open to"), traced(1 << 20):
        parse(replace(GOOD, counts=counts).encode())


def test_a_frame_that_opens_to_more_than_the_counts_is_refused_unopened() -> None:
    bomb = zstandard.compress(bytes(PLAIN_SIZE_MAX - 1))
    assert len(bomb) < 10_000
    with pytest.raises(FormatError, match="promised"), traced(1 << 20):
        parse(GOOD.header() + bomb)


class traced:  # noqa: N801 - reads as a statement
    """Fail if what is done within takes more than ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def __enter__(self) -> None:
        tracemalloc.start()

    def __exit__(self, *_: object) -> None:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= self._limit, f"took {peak} bytes"


def survives(data: bytes) -> None:
    """Parse what a head may name; only our own errors may come, or an index that keeps rules."""
    try:
        index = parse(data)
    except InvalidInput:
        return
    made: set[int] = set()
    needed: set[int] = set()
    for at in range(len(index)):
        of = index.delta(at)
        assert of.offset + of.size <= of.bundle.size
        made.update(index.target_rows(at).tolist())
        needed.update(index.base_rows(at).tolist())
        assert 0 < index.sizes[index.target_rows(at)].sum(dtype=np.int64) <= TARGET_SIZE_MAX
        assert index.sizes[index.base_rows(at)].sum(dtype=np.int64) <= BASE_SIZE_MAX
    assert not made & needed
    assert made | needed == set(range(len(index.ids)))


@pytest.mark.parametrize("position", range(28))
def test_no_byte_of_the_header_raises_anything_else(position: int) -> None:
    data = GOOD.encode()
    with traced(4 << 20):
        for value in range(256):
            survives(data[:position] + bytes([value]) + data[position + 1 :])


@pytest.mark.parametrize("position", range(len(GOOD.plain())))
def test_no_byte_of_the_columns_raises_anything_else(position: int) -> None:
    plain = GOOD.plain()
    for value in (0, 1, 2, 3, 127, 128, 255, plain[position] ^ 1):
        survives(
            GOOD.header()
            + codec.compress(plain[:position] + bytes([value]) + plain[position + 1 :])
        )


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_damage_anywhere_raises_anything_else(data: st.DataObject) -> None:
    raw = bytearray(GOOD.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


u32 = st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_numbers_in_the_columns_raise_anything_else(data: st.DataObject) -> None:
    def numbers(count: int, of: st.SearchStrategy[int] = u32) -> list[int]:
        return data.draw(st.lists(of, min_size=count, max_size=count))

    chunk_count, delta_count, bundle_count = numbers(3, st.integers(0, 5))
    survives(
        RawIndex(
            ids=[data.draw(st.binary(min_size=16, max_size=16)) for _ in range(chunk_count)],
            chunk_sizes=numbers(chunk_count, st.integers(0, (1 << 20) + 1)),
            methods=numbers(delta_count, st.integers(0, 4)),
            targets=numbers(delta_count, st.integers(0, 3)),
            bases=numbers(delta_count, st.one_of(st.integers(0, 2), u32)),
            sizes=numbers(delta_count),
            homes=numbers(delta_count, st.integers(0, 3)),
            gaps=numbers(delta_count),
            checks=[bytes(16)] * delta_count,
            uses=numbers(data.draw(st.integers(0, 8)), st.integers(0, 5)),
            bundle_ids=[bytes([at]) * 32 for at in range(bundle_count)],
            bundle_sizes=numbers(bundle_count, st.integers(0, 33 << 20)),
        ).encode()
    )


@pytest.mark.parametrize(("count", "per_delta"), [(DELTA_COUNT_MAX + 1, 1), (2, CHUNK_COUNT_MAX)])
def test_a_writer_refuses_more_than_a_reader_takes(count: int, per_delta: int) -> None:
    bundle = BundleRef(Digest(b"B" * 32), 10 << 20)
    one = StoredDelta((ONE,) * per_delta, (), Method.ZSTD, bytes(16), bundle, 0, 1)
    with pytest.raises(InvalidInput, match=f"{count} deltas would use {count * per_delta} chunks"):
        encode_delta_index([one] * count, {ONE: 1})
