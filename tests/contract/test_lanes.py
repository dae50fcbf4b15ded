"""The fast lane and aiohttp answer the same bytes with the same bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunks.slices import SLICE_SIZE
from kit.clock import ManualClock
from manifests.lease import HEADER
from manifests.names import TitleId
from tests import titles
from tests.lanes import Lanes, both, running_lanes
from tests.leases import gate_at, lease_at

title = titles.some_title()
SIZE = len(title.bundle)
BUNDLE = title.bundle_address.path
ETAG = f'"{title.bundle_address.bundle_id.hex()}"'
CONTENT = [title.manifest_address.path, title.slice_list_address.path, f"{BUNDLE}/2", BUNDLE]
OTHERS = [title.head_address.path, title.release_address.path]

clock = ManualClock(1_800_000_000)
"""Stands still: leases are minted on import, in a long run long before they are shown."""
LEASE = lease_at(clock, title.bundle_address.title)
OTHER_LEASE = lease_at(clock, TitleId("another-title"))
EXPIRED = lease_at(clock, title.bundle_address.title, lasts_s=-120)
FORGED = lease_at(clock, title.bundle_address.title, key=bytes(32))

RANGES = ["bytes=0-0", "bytes=5-", "bytes=-7", f"bytes={SLICE_SIZE - 3}-{SLICE_SIZE + 4}"]
NO_RANGES = ["bytes=9-5", "bytes=0-1,5-9", "lines=0-1", f"bytes={SIZE}-", "bytes=-0", "x"]

many = settings(max_examples=80, suppress_health_check=list(HealthCheck))


@pytest.fixture
async def lanes(tmp_path: Path) -> AsyncIterator[Lanes]:
    gate = gate_at(clock)
    async with running_lanes(tmp_path, title, [*CONTENT, *OTHERS], gate, LEASE) as found:
        yield found


def head(path: str, *lines: str, method: str = "GET", lease: str | None = LEASE) -> bytes:
    shown = [] if lease is None else [f"{HEADER}: {lease}"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *shown, *lines, "", ""]).encode()


def fast_count(lanes: Lanes) -> float:
    return lanes.fast.metric("playhead_edge_http_fast_lane_total")


@pytest.mark.parametrize("path", CONTENT)
async def test_content_in_memory_is_answered_by_the_fast_lane_as_by_the_full_one(
    lanes: Lanes, path: str
) -> None:
    lines = [
        *([f"Range: {span}"] for span in RANGES[:3]),
        [],
        ["traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
        ["If-None-Match: *"],
        ['If-None-Match: "other"'],
        ["Range: bytes=1-2", 'If-Range: "other"'],
        ["Range: bytes=1-2", f"If-Range: {ETAG}"],
        ["accept-encoding: gzip", "User-Agent: x", "Accept: */*"],
        ["Connection: keep-alive"],
    ]
    for asked, method in product(lines, ["GET", "HEAD"]):
        before = fast_count(lanes)
        fast, full = await both(lanes, [head(path, *asked, method=method)], answers_max=1)
        assert fast == full, asked
        assert fast.answers[0][0] in {200, 206, 304}
        assert fast_count(lanes) == before + 1, asked
    assert lanes.full.metric("playhead_edge_http_fast_lane_total") == 0


async def test_both_lanes_count_how_long_a_first_byte_from_memory_took(lanes: Lanes) -> None:
    name = "playhead_edge_first_byte_seconds_count"
    for lane in (lanes.fast, lanes.full):
        before = lane.metric(name, found="memory")
        await both(lanes, [head(BUNDLE)], answers_max=1)
        assert lane.metric(name, found="memory") == before + 1


@pytest.mark.parametrize("asked", [*RANGES, *NO_RANGES])
async def test_both_lanes_read_a_range_alike(lanes: Lanes, asked: str) -> None:
    fast, full = await both(lanes, [head(BUNDLE, f"Range: {asked}")], answers_max=1)
    assert fast == full


@pytest.mark.parametrize("lease", [None, "", "x", OTHER_LEASE, EXPIRED, FORGED])
@pytest.mark.parametrize("path", [CONTENT[0], BUNDLE])
async def test_neither_lane_lets_in_who_has_no_lease_that_holds(
    lanes: Lanes, lease: str | None, path: str
) -> None:
    fast, full = await both(lanes, [head(path, lease=lease)], answers_max=1)
    assert fast == full
    assert fast.answers[0][0] in {401, 403}


@pytest.mark.parametrize(
    "line",
    [
        "Connection: close",
        "Connection: keep-alive, close",
        "Expect: 100-continue",
        "Upgrade: websocket",
        "Content-Length: 0",
        "Content-Length: 3",
        "Transfer-Encoding: chunked",
        "Host: y",
        "Range: bytes=0-1\r\nRange: bytes=2-3",
        'If-Match: "other"',
        "If-Modified-Since: Sat, 29 Oct 2044 19:43:31 GMT",
        "Cache-Control: no-cache",
        "X-A: b\r\n folded",
        "X-Ä: b",
        "no colon",
        " : b",
        "X: " + "a" * 5000,
        "X: " + "a" * 9000,
    ],
)
async def test_what_is_unusual_is_answered_as_without_a_fast_lane(lanes: Lanes, line: str) -> None:
    before = fast_count(lanes)
    fast, full = await both(lanes, [head(CONTENT[0], line)])
    assert fast == full
    assert fast_count(lanes) == before


async def test_a_path_without_host_or_of_another_version_goes_to_the_full_lane(
    lanes: Lanes,
) -> None:
    before = fast_count(lanes)
    shown = f"{HEADER}: {LEASE}\r\n\r\n"
    for line in ("HTTP/1.1\r\n", "HTTP/1.0\r\nHost: x\r\n", "HTTP/2.0\r\nHost: x\r\n"):
        fast, full = await both(lanes, [f"GET {BUNDLE}/0 {line}{shown}".encode()])
        assert fast == full
    assert fast_count(lanes) == before


@many
@given(cuts=st.lists(st.integers(0, 400), max_size=12), path=st.sampled_from([*CONTENT, *OTHERS]))
async def test_where_a_request_is_cut_makes_no_difference(
    lanes: Lanes, cuts: Sequence[int], path: str
) -> None:
    request = head(path, "Range: bytes=0-9", "Accept: */*") + head(path, method="HEAD")
    edges = sorted({0, *cuts, len(request)})
    pieces = [request[start:end] for start, end in pairwise(edges)]
    whole, full = await both(lanes, [request], answers_max=1)
    cut, cut_full = await both(lanes, pieces, answers_max=1)
    assert whole == full == cut == cut_full


MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 600),
        st.integers(0, 3),
        st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b"\xff", b"x", b","])
        | st.binary(max_size=3),
    ),
    min_size=1,
    max_size=3,
)


@many
@given(mutations=MUTATIONS, path=st.sampled_from([BUNDLE, CONTENT[0]]))
async def test_a_damaged_request_is_answered_as_without_a_fast_lane(
    lanes: Lanes, mutations: Sequence[tuple[int, int, bytes]], path: str
) -> None:
    request = head(path, "Range: bytes=0-9", "Accept: */*", "If-None-Match: x")
    for at, gone, put in mutations:
        start = at % len(request)
        request = request[:start] + put + request[start + gone :]
    fast, full = await both(lanes, [request])
    assert fast == full, request
