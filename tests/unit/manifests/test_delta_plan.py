"""Which deltas are chosen: always usable, never dearer than the chunks they spare."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from chunks.chunk_id import CHUNK_ID_SIZE, ChunkId, chunk_id_of, digest_of
from chunks.delta import Method
from manifests.delta_index import DeltaIndex, StoredDelta, encode_delta_index, parse_delta_index
from manifests.delta_plan import DEPTH_MAX, Patches, choose_patches
from manifests.documents import ObjectRef
from manifests.model import Build, BundleRef
from tests.builds import chunk_table, file, pages_of, read_back

WANTED = 6
OLD = 6
SIZE = 1000
BUNDLE = BundleRef(digest_of(b"deltas"), 16 << 20)


def small_build(count: int = WANTED) -> Build:
    """A build of ``count`` chunks, each stored in 500 bytes."""
    sizes = [SIZE] * count
    entries = [file("a", SIZE * count)]
    return read_back([("launch", entries, pages_of(entries, chunk_table(sizes), range(count)))])


def chunk(number: int) -> ChunkId:
    """Of the build below ``WANTED``, old ones above."""
    if number < WANTED:
        return BUILD.chunks.chunk_id(number)
    return chunk_id_of(digest_of(f"old {number}".encode()))


BUILD = small_build()


@dataclass(frozen=True)
class Sketch:
    targets: tuple[int, ...]
    bases: tuple[int, ...]
    size: int


def index_of(sketches: list[Sketch]) -> DeltaIndex:
    deltas, at = [], 0
    for number, sketch in enumerate(sketches):
        check = digest_of(f"{number} {sketch}".encode())[:CHUNK_ID_SIZE]
        targets, bases = tuple(map(chunk, sketch.targets)), tuple(map(chunk, sketch.bases))
        delta = StoredDelta(targets, bases, Method.ZSTD, check, BUNDLE, at, sketch.size)
        deltas.append(delta)
        at += sketch.size
    sizes = {chunk_id: SIZE for delta in deltas for chunk_id in (*delta.targets, *delta.bases)}
    data = encode_delta_index(deltas, sizes)
    return parse_delta_index(data, ObjectRef(digest=digest_of(data).hex(), size=len(data)))


@st.composite
def indexes(draw: st.DrawFn) -> DeltaIndex:
    made = draw(st.permutations(range(WANTED + OLD)))[: draw(st.integers(1, 8))]
    needed = [n for n in range(WANTED + OLD) if n not in made]
    sketches = []
    while made:
        count = draw(st.integers(1, min(3, len(made))))
        targets, made = tuple(made[:count]), made[count:]
        bases = draw(st.lists(st.sampled_from(needed), unique=True, max_size=3))
        sketches.append(Sketch(targets, tuple(bases), draw(st.integers(1, 900))))
    return index_of(sketches)


def check_patches(patches: Patches, here: set[ChunkId]) -> None:
    assert len(patches.levels) <= DEPTH_MAX
    known, brought = set(here), list[int]()
    for level, requests in zip(patches.levels, patches.requests, strict=True):
        asked = [step for request in requests for step in request.steps]
        assert sorted(map(id, asked)) == sorted(map(id, level))
        for step in level:
            assert set(step.delta.bases) <= known
            brought += step.wanted_rows
        known |= {made for step in level for made in step.delta.targets}
    assert len(brought) == len(set(brought))


@given(st.lists(indexes(), max_size=3), st.sets(st.integers(WANTED, WANTED + OLD - 1)))
def test_what_is_chosen_can_be_applied_and_costs_less(
    found: list[DeltaIndex], old: set[int]
) -> None:
    here = {chunk(number) for number in old}
    patches = choose_patches(BUILD, range(WANTED), found, here)
    check_patches(patches, here)
    spared = sum(int(BUILD.chunks.stored_sizes[row]) for row in patches.rows)
    cost = sum(step.delta.size for step in patches.steps())
    assert cost < spared or patches.count == 0


def test_indexes_that_need_each_other_lead_nowhere() -> None:
    one = index_of([Sketch((0,), (6,), 10), Sketch((7,), (8,), 10)])
    other = index_of([Sketch((6,), (7,), 10), Sketch((8,), (0,), 10)])
    assert choose_patches(BUILD, range(WANTED), [one, other, one], set()).count == 0


def test_stone_is_paid_by_all_that_stand_on_it() -> None:
    users = index_of([Sketch((row,), (6,), 100) for row in range(3)])
    stone = index_of([Sketch((6,), (7,), 900)])
    both = choose_patches(BUILD, range(3), [users, stone], {chunk(7)})
    assert [len(level) for level in both.levels] == [1, 3]
    assert choose_patches(BUILD, range(1), [users, stone], {chunk(7)}).count == 0


def test_many_that_stand_on_many_are_dealt_with_quickly() -> None:
    count = 3000
    build = small_build(count)
    wide = tuple(range(10_000, 10_000 + count))
    sketches = [
        StoredDelta(
            (build.chunks.chunk_id(row),), (chunk(9_000),), Method.ZSTD, bytes(16), BUNDLE, row, 1
        )
        for row in range(count)
    ]
    data = encode_delta_index(sketches, {c: SIZE for d in sketches for c in (*d.targets, *d.bases)})
    users = parse_delta_index(data, ObjectRef(digest=digest_of(data).hex(), size=len(data)))
    middle = index_of([Sketch((9_000,), wide, 1)])
    below = index_of([Sketch((number,), (), 1) for number in wide])
    began = time.process_time()
    assert choose_patches(build, range(count), [users, middle, below], set()).count == 0
    assert time.process_time() - began < 5
