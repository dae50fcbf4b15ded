"""Chosen deltas can be applied in their order, cost less than plain chunks, and are soon chosen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.chunk_id import CHUNK_ID_SIZE, ChunkId, digest_of
from chunks.delta import Method
from manifests.delta_index import DeltaIndex, StoredDelta, encode_delta_index, parse_delta_index
from manifests.delta_plan import (
    DEPTH_MAX,
    REQUEST_SIZE_MAX,
    STONE_SLACK,
    Patches,
    choose_patches,
    made_by,
    step_from,
    unmade_bases,
)
from manifests.documents import DeltaRef, ObjectRef
from manifests.model import Build, BundleRef
from tests.builds import chunk_table, file, pages_of, read_back

PLAIN_SIZE = 1000
STORED_SIZE = PLAIN_SIZE // 2
"""What each chunk of a build takes to fetch."""

OLD = [ChunkId(digest_of(f"old {number}".encode())[:CHUNK_ID_SIZE]) for number in range(6)]


def build_of(count: int) -> Build:
    """Return a build of so many chunks, each a file."""
    entries = [file(f"f{number:06}", PLAIN_SIZE) for number in range(count)]
    pages = pages_of(entries, chunk_table([PLAIN_SIZE] * count), range(count))
    return read_back([("launch", entries, pages)])


NEW = build_of(5)
CHUNKS = [*NEW.chunks.all_ids(), *OLD]


@dataclass(frozen=True)
class Made:
    """A delta in a few words."""

    targets: Sequence[ChunkId]
    bases: Sequence[ChunkId]
    size: int


def index_of(made: Sequence[Made], salt: int = 0) -> DeltaIndex:
    """Return a real index of these deltas, three to a bundle."""
    deltas = [
        StoredDelta(
            targets=tuple(each.targets),
            bases=tuple(each.bases),
            method=Method.ZSTD,
            check=check_of(salt, number),
            bundle=BundleRef(digest_of(f"{salt}/{number // 3}".encode()), 16 << 20),
            offset=(number % 3) * 10_000,
            size=each.size,
        )
        for number, each in enumerate(made)
    ]
    ids = {chunk_id for each in made for chunk_id in (*each.targets, *each.bases)}
    data = encode_delta_index(deltas, dict.fromkeys(ids, PLAIN_SIZE))
    return parse_delta_index(data, ObjectRef(digest=digest_of(data).hex(), size=len(data)))


def check_of(salt: int, number: int) -> bytes:
    return digest_of(f"delta {salt}/{number}".encode())[:CHUNK_ID_SIZE]


@st.composite
def deltas(draw: st.DrawFn) -> list[Made]:
    """Some deltas among which none makes what another makes or needs."""
    order = draw(st.permutations(CHUNKS))
    target_count = draw(st.integers(1, 7))
    targets, others = order[:target_count], order[target_count:]
    made: list[Made] = []
    while targets:
        count = draw(st.integers(1, 3))
        bases = draw(st.lists(st.sampled_from(others), max_size=3, unique=True))
        made.append(Made(targets[:count], bases, draw(st.integers(1, 1200))))
        targets = targets[count:]
    return made


worlds = st.lists(deltas(), max_size=3)
subsets = st.sets(st.sampled_from(OLD))
marks = st.sets(st.tuples(st.integers(0, 2), st.integers(0, 3)))
rooms = st.none() | st.integers(0, 20_000)


@given(worlds, subsets, st.sets(st.integers(0, 4), min_size=1), marks, rooms)
@settings(max_examples=400, deadline=None)
def test_what_is_chosen_can_be_done_and_pays(
    world: list[list[Made]],
    here: set[ChunkId],
    wanted: set[int],
    left: set[tuple[int, int]],
    room: int | None,
) -> None:
    indexes = [index_of(made, salt) for salt, made in enumerate(world)]
    stones = {check_of(*mark) for mark in left}
    patches = choose_patches(NEW, sorted(wanted), indexes, here, stones, stone_room=room)
    assert room is None or patches.stone_size + patches.stone_slack <= room
    check_applicable(patches, here, indexes, stones)
    check_rows(patches, wanted)
    check_requests(patches)
    spent = sum(step.delta.size for step in patches.steps())
    assert spent <= len(patches.rows) * STORED_SIZE
    if not left:
        assert all(step.wanted_rows or step.is_stone for step in patches.steps())


def test_a_stone_that_is_left_is_not_written_again_though_its_chunk_is_wanted() -> None:
    one, two = CHUNKS[:2]
    indexes = [index_of([Made([one], [two], 1)]), index_of([Made([two], [], 1)], salt=1)]
    patches = choose_patches(NEW, [0, 1], indexes, set(), {check_of(1, 0)}, stone_room=0)
    assert patches.rows == {0, 1}
    assert not any(step.is_stone for step in patches.steps())


def check_applicable(
    patches: Patches, here: set[ChunkId], indexes: Sequence[DeltaIndex], stones: set[bytes]
) -> None:
    assert len(patches.levels) <= DEPTH_MAX
    readable = set(here)
    for index in indexes:
        for number in range(len(index)):
            delta = index.delta(number)
            readable |= set(delta.targets) if delta.check in stones else set()
    for level in patches.levels:
        assert level
        for step in level:
            assert readable.issuperset(step.delta.bases)
        readable |= {each for step in level if step.is_stone for each in step.delta.targets}


def check_rows(patches: Patches, wanted: set[int]) -> None:
    brought = [row for step in patches.steps() for row in step.wanted_rows]
    assert len(brought) == len(set(brought))
    assert patches.rows == set(brought) <= wanted
    for step in patches.steps():
        assert len(step.rows) == len(step.sizes) == len(step.delta.targets)
        for row, chunk_id in zip(step.rows, step.delta.targets, strict=True):
            assert row < 0 or NEW.chunks.chunk_id(row) == chunk_id


def check_requests(patches: Patches) -> None:
    for level, requests in zip(patches.levels, patches.requests, strict=True):
        asked = [step for request in requests for step in request.steps]
        assert sorted(map(id, asked)) == sorted(map(id, level))
        for request in requests:
            assert request.span.size <= REQUEST_SIZE_MAX
            for step in request.steps:
                delta = step.delta
                assert delta.bundle == request.bundle
                assert request.span.start <= delta.offset
                assert delta.offset + delta.size <= request.span.end
    spans = [request.span.size for level in patches.requests for request in level]
    assert (sum(spans), len(spans)) == (patches.download_size, patches.request_count)


def test_delta_that_costs_as_much_as_plain_chunks_is_left_out() -> None:
    row = NEW.chunks.chunk_id(0)
    index = index_of([Made([row], [OLD[0]], STORED_SIZE)])
    assert choose_patches(NEW, [0], [index], {OLD[0]}).count == 0
    index = index_of([Made([row], [OLD[0]], STORED_SIZE - 1)])
    assert choose_patches(NEW, [0], [index], {OLD[0]}).rows == {0}


def test_stepping_stone_is_paid_by_all_that_stand_on_it() -> None:
    makes = [Made([NEW.chunks.chunk_id(row)], [OLD[0]], 100) for row in range(3)]
    stone = index_of([Made([OLD[0]], [OLD[1]], 700)], salt=1)
    assert choose_patches(NEW, [0], [index_of(makes), stone], {OLD[1]}).count == 0
    patches = choose_patches(NEW, [0, 1, 2], [index_of(makes), stone], {OLD[1]})
    assert [len(level) for level in patches.levels] == [1, 3]
    assert patches.stone_size == PLAIN_SIZE


def test_stones_that_spare_most_for_their_room_come_first() -> None:
    """One that two deltas stand on, and one that a third stands on."""
    ids = NEW.chunks.all_ids()
    sizes = (200, 200, 10)
    makes = index_of(
        [Made([ids[n]], [OLD[0 if n < 2 else 1]], size) for n, size in enumerate(sizes)]
    )
    stones = index_of([Made([OLD[0]], [OLD[2]], 10), Made([OLD[1]], [OLD[2]], 10)], salt=1)

    def rows(room: int | None) -> frozenset[int]:
        return choose_patches(NEW, [0, 1, 2], [makes, stones], {OLD[2]}, stone_room=room).rows

    one = PLAIN_SIZE + STONE_SLACK
    assert rows(None) == rows(2 * one) == {0, 1, 2}
    assert rows(2 * one - 1) == rows(one) == {0, 1}
    assert rows(one - 1) == rows(0) == set()


def test_what_two_sets_bring_is_spared_once() -> None:
    first, second, third = (NEW.chunks.chunk_id(row) for row in range(3))
    near = index_of([Made([first, second], [OLD[0]], 900)])
    far = index_of([Made([second, third], [OLD[0]], 900)], salt=1)
    patches = choose_patches(NEW, [0, 1, 2], [near, far], {OLD[0]})
    assert patches.rows == {0, 1}


def test_stone_that_lies_in_staging_is_not_fetched() -> None:
    last = index_of([Made([NEW.chunks.chunk_id(0)], [OLD[0]], 100)])
    stone = index_of([Made([OLD[0]], [OLD[1]], 700)], salt=1)
    patches = choose_patches(NEW, [0], [last, stone], {OLD[1]}, {check_of(1, 0)})
    assert [step.delta.check for step in patches.steps()] == [check_of(0, 0)]


def test_way_from_the_own_release_is_preferred() -> None:
    ref = ObjectRef(digest="0" * 64, size=1)
    near, own = DeltaRef(base=6, target=7, index=ref), DeltaRef(base=4, target=7, index=ref)
    assert step_from([near, own], 7, own_counter=4) == own
    assert step_from([near, own], 7, own_counter=5) == near
    assert step_from([near, own], 8, own_counter=4) is None


def test_what_is_needed_next_is_what_nobody_has() -> None:
    row = NEW.chunks.chunk_id(0)
    index = index_of([Made([row], OLD[:3], 1), Made([NEW.chunks.chunk_id(1)], OLD[3:5], 1)])
    assert unmade_bases(index, {row}, {OLD[0]}) == {OLD[1], OLD[2]}
    assert made_by(index) == {row, NEW.chunks.chunk_id(1)}


SOON_S = 30
"""Minutes or hours is what these would take; a slow machine is given time."""


@pytest.fixture(scope="module")
def large() -> Build:
    return build_of(20_000)


def some_chunks(name: str, count: int) -> list[ChunkId]:
    return [ChunkId(digest_of(f"{name} {n}".encode())[:CHUNK_ID_SIZE]) for n in range(count)]


def test_index_whose_deltas_all_stand_on_all_others_takes_no_time(large: Build) -> None:
    wanted, steps = large.chunks.all_ids(), some_chunks("step", 20_000)
    [middle] = some_chunks("middle", 1)
    indexes = [
        index_of([Made([each], [middle], 1) for each in wanted]),
        index_of([Made([middle], steps, 1)], salt=1),
        index_of([Made([each], [OLD[0]], 1) for each in steps], salt=2),
    ]
    started = time.monotonic()
    choose_patches(large, range(20_000), indexes, {OLD[0]})
    assert time.monotonic() - started < SOON_S


def test_index_of_which_each_round_drops_one_delta_takes_no_time(large: Build) -> None:
    wanted, steps = large.chunks.all_ids(), some_chunks("step", 20_001)
    indexes = [
        index_of([Made([each], steps[n : n + 2], 1) for n, each in enumerate(wanted)]),
        index_of([Made([each], [OLD[0]], STORED_SIZE - 10) for each in steps], salt=1),
    ]
    started = time.monotonic()
    patches = choose_patches(large, range(20_000), indexes, {OLD[0]})
    assert time.monotonic() - started < SOON_S
    assert patches.count == 0
