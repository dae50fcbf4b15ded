"""Requests: every wanted chunk once, few and large but bounded, and honest about waste."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.plan import (
    FIRST_REQUEST_SIZE,
    GAP_MAX,
    REQUEST_SIZE_MAX,
    RangeRequest,
    Wanted,
    range_requests,
)

SIZES = st.integers(1, 1 << 20)
GAPS = st.sampled_from([0, 0, 0, 1, 5000, GAP_MAX, GAP_MAX + 1, 3 << 20])


@st.composite
def wanted_chunks(draw: st.DrawFn) -> list[Wanted]:
    """Chunks of up to four bundles, laid end to end with gaps, in any play order."""
    rows = draw(st.lists(st.tuples(st.integers(0, 3), GAPS, SIZES), max_size=60))
    ends: dict[int, int] = {}
    chunks: list[Wanted] = []
    for row, (bundle, gap, size) in enumerate(rows):
        start = ends.get(bundle, 0) + gap
        ends[bundle] = start + size
        chunks.append(Wanted(row, bundle, start, start + size))
    return chunks if draw(st.booleans()) else draw(st.permutations(chunks))


@settings(max_examples=150, deadline=None)
@given(wanted_chunks())
def test_every_wanted_chunk_is_in_exactly_one_request(wanted: list[Wanted]) -> None:
    requests = list(range_requests(wanted))
    brought = [chunk for request in requests for chunk in request.chunks]
    assert sorted(brought, key=lambda chunk: chunk.row) == sorted(wanted, key=lambda c: c.row)
    for request in requests:
        assert all(chunk.bundle_index == request.bundle_index for chunk in request.chunks)
        assert request.start == min(chunk.start for chunk in request.chunks)
        assert request.end == max(chunk.end for chunk in request.chunks)


@settings(max_examples=150, deadline=None)
@given(wanted_chunks())
def test_sizes_and_gaps_are_bounded_and_waste_is_exact(wanted: list[Wanted]) -> None:
    for number, request in enumerate(range_requests(wanted)):
        limit = min(FIRST_REQUEST_SIZE << number, REQUEST_SIZE_MAX)
        assert request.size <= limit or len(request.chunks) == 1
        gaps = [
            after.start - before.end
            for before, after in zip(request.chunks, request.chunks[1:], strict=False)
        ]
        assert all(0 <= gap <= GAP_MAX for gap in gaps)
        assert request.wasted_size == sum(gaps)


@settings(max_examples=100, deadline=None)
@given(wanted_chunks())
def test_neighbours_that_could_be_one_request_are_one(wanted: list[Wanted]) -> None:
    requests = list(range_requests(wanted))
    for number, (one, other) in enumerate(itertools.pairwise(requests)):
        if one.bundle_index != other.bundle_index:
            continue
        limit = min(FIRST_REQUEST_SIZE << number, REQUEST_SIZE_MAX)
        first = other.chunks[0]
        assert first.start - one.end > GAP_MAX or first.end - one.start > limit


def test_requests_follow_the_order_of_play() -> None:
    wanted = [Wanted(0, 5, 0, 10), Wanted(1, 2, 0, 10), Wanted(2, 5, 10, 20)]
    assert [request.bundle_index for request in range_requests(wanted)] == [5, 2]


def test_chunks_that_overlap_are_still_brought_whole() -> None:
    """No publisher writes this, but nothing forbids it: two rows that lie in one place."""
    outer, inner = Wanted(0, 0, 0, 100), Wanted(1, 0, 10, 20)
    assert list(range_requests([outer, inner])) == [RangeRequest(0, 0, 100, (outer, inner))]


def test_nothing_wanted_needs_no_request() -> None:
    assert list(range_requests([])) == []
