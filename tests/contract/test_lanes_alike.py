"""Conversations of many requests, generated: each way into an edge answers all of them alike.

The ways are the fast lane and aiohttp, in plain and over TLS, and a worker that has all from
another. What is compared is all that was answered, in order, but times, traces and where in the
cache it was found.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from chunks.slices import SLICE_SIZE
from edge.crew import ALONE, Crew
from kit.clock import ManualClock
from kit.http_settings import ListenSettings
from kit.object_storage.testing import MemoryStorage
from kit.units import Seconds
from manifests.lease import HEADER
from manifests.names import TitleId
from tests import titles
from tests.attacks.test_request_smuggling import FRAMINGS
from tests.lanes import CHANGING
from tests.leases import gate_at, lease_at
from tests.serving import Node, running_edge, running_origin
from tests.tls_files import believing, some_certificate

title = titles.some_title()
SIZE = len(title.bundle)
BUNDLE = title.bundle_address.path
ETAG = f'"{title.bundle_address.bundle_id.hex()}"'
CONTENT = [title.manifest_address.path, title.slice_list_address.path, f"{BUNDLE}/2", BUNDLE]
OTHERS = [title.head_address.path, title.release_address.path]
STRANGE = [
    f"{BUNDLE}/3",
    f"{BUNDLE}?",
    f"{BUNDLE}?x=1",
    f"{BUNDLE}/",
    BUNDLE.replace("/b/", "/%62/"),
    BUNDLE.replace("/t/", "//t/"),
    BUNDLE.replace("/t/", "/t/./"),
    BUNDLE.upper(),
    f"http://an-edge{BUNDLE}",
    f"{BUNDLE}#x",
    BUNDLE.replace("a-title", "another-title"),
    f"{BUNDLE[:-1]}g",
    "/t/",
    "/",
    "*",
]

clock = ManualClock(1_800_000_000)
"""Stands still: leases are minted on import, in a long run long before they are shown."""
LEASE = lease_at(clock, title.bundle_address.title)
LEASES = [LEASE] * 6 + [lease_at(clock, TitleId("another-title")), "x", ""]

LINES = [
    "Range: bytes=0-0",
    "Range: bytes=5-",
    "range:bytes=-7",
    "Range:   bytes=0-9  ",
    "Range: bytes=9-5",
    "Range: bytes=0-1,5-9",
    f"Range: bytes={SLICE_SIZE - 3}-{SLICE_SIZE + 4}",
    f"Range: bytes={SIZE - 1}-",
    f"Range: bytes={SIZE}-",
    f"Range: bytes=0-{'9' * 30}",
    "Range: bytes=-0",
    "Range: BYTES=0-1",
    "Range: bytes = 0-1",
    "Range: bytes=+0-1",
    "Range: bytes=0x0-1",
    "Range:",
    f"If-None-Match: {ETAG}",
    f"If-None-Match: W/{ETAG}",
    f'If-None-Match: "a", {ETAG}',
    f"If-None-Match: {ETAG[1:-1]}",
    "If-None-Match: *",
    "If-None-Match: ",
    f"If-Range: {ETAG}",
    f"If-Range: W/{ETAG}",
    "If-Range: Sat, 29 Oct 2044 19:43:31 GMT",
    f"If-Match: {ETAG}",
    'If-Match: "other"',
    "If-Modified-Since: Sat, 29 Oct 2044 19:43:31 GMT",
    "If-Unmodified-Since: Sat, 29 Oct 1994 19:43:31 GMT",
    "Cache-Control: no-cache",
    "Cache-Control: only-if-cached",
    "Accept-Encoding: gzip, br, zstd",
    "Accept: */*",
    "TE: trailers",
    "Connection: keep-alive",
    "Connection: Keep-Alive",
    "Connection: TE",
    "Keep-Alive: timeout=5",
    "Cookie: a=b",
    "User-Agent: ",
    "X-Tab:\tb\t",
    "CDN-Loop: playhead; node=made-up",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "traceparent: 00-zz",
    "X-Long: " + "a" * 3000,
    f"{HEADER}: twice",
]

many = settings(max_examples=60, suppress_health_check=list(HealthCheck))

LISTEN = ListenSettings(
    head_within=Seconds(5),
    close_idle_after=Seconds(5),
    drain_for=Seconds(5),
    linger_for=Seconds(0),
    turn_within=Seconds(0),
)


@dataclass(frozen=True)
class Asked:
    """One request of a conversation."""

    method: str
    target: str
    lines: tuple[str, ...]
    lease: str

    def encode(self) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: an-edge"]
        lines += [f"{HEADER}: {self.lease}", *self.lines, "", ""]
        return "\r\n".join(lines).encode()


LAST = Asked("GET", "/healthz", ("Connection: close",), LEASE)
"""After it the connection is over: nobody has to wait for more."""


def requests_for(targets: Sequence[str]) -> st.SearchStrategy[Asked]:
    return st.builds(
        Asked,
        st.sampled_from(["GET"] * 6 + ["HEAD"] * 2 + ["OPTIONS", "DELETE"]),
        st.sampled_from(targets),
        st.lists(st.sampled_from(LINES), max_size=3).map(tuple),
        st.sampled_from(LEASES),
    )


ORDERLY = requests_for([*CONTENT, *OTHERS, f"{BUNDLE}/3"])
"""None of them ends the connection: what came behind would be refused with it, or reset."""

ANY = requests_for([*CONTENT * 3, *OTHERS, *STRANGE])


@dataclass(frozen=True)
class Way:
    """One way in, and how to talk to it."""

    name: str
    node: Node
    context: ssl.SSLContext | None = None

    async def answers(
        self, sent: bytes, cuts: Sequence[int], methods: Sequence[str]
    ) -> list[object]:
        """Send it in pieces; return what is answered until the end, without what may differ."""
        host, _, port = self.node.url.partition("://")[2].rpartition(":")
        reader, writer = await asyncio.open_connection(
            host, int(port), limit=1 << 22, ssl=self.context
        )
        try:
            edges = sorted({0, len(sent), *(cut % len(sent) for cut in cuts)})
            for start, end in pairwise(edges):
                writer.write(sent[start:end])
                await writer.drain()
                await asyncio.sleep(0)
            async with asyncio.timeout(20):
                received = await reader.read(-1)
        finally:
            writer.transport.abort()
        return list(parsed(received, methods))

    async def in_turn(self, requests: Sequence[Asked]) -> list[object]:
        """Ask for one thing after the other; return what is answered, as :meth:`answers`."""
        host, _, port = self.node.url.partition("://")[2].rpartition(":")
        reader, writer = await asyncio.open_connection(
            host, int(port), limit=1 << 22, ssl=self.context
        )
        received = bytearray()
        try:
            async with asyncio.timeout(20):
                for asked in [*requests, LAST]:
                    writer.write(asked.encode())
                    head = await reader.readuntil(b"\r\n\r\n")
                    size = 0 if asked.method == "HEAD" or b" 304 " in head[:16] else size_in(head)
                    received += head + await reader.readexactly(size)
                    if b"\r\nConnection: close" in head or head.startswith(b"HTTP/1.0"):
                        break
                received += await reader.read(-1)
        finally:
            writer.transport.abort()
        return list(parsed(bytes(received), [asked.method for asked in [*requests, LAST]]))


def size_in(head: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    return int(found[1]) if found else 0


def parsed(received: bytes, methods: Sequence[str]) -> list[object]:
    """Read answers one after the other; what is left over is the last."""
    found: list[object] = []
    for method in methods:
        head, end, received = received.partition(b"\r\n\r\n")
        if not end:
            received = head
            break
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        assert len(headers) == len(lines), "none twice"
        size = int(headers.get("content-length", 0))
        size = 0 if method == "HEAD" or " 304 " in line else size
        body, received = received[:size], received[size:]
        body = body.partition(b'"trace_id"')[0]
        kept = {pair for pair in headers.items() if pair[0] not in {*CHANGING, "cache-status"}}
        if headers["content-type"] == "application/problem+json" if size else False:
            kept = {pair for pair in kept if pair[0] != "content-length"}
        found.append((line, frozenset(kept), body))
    return [*found, received]


@pytest.fixture
async def ways(tmp_path: Path) -> AsyncIterator[list[Way]]:
    """All of them, warm."""
    storage = MemoryStorage()
    await titles.put(storage, title)
    gate, node_lease = gate_at(clock), lease_at(clock, None)
    made, tls = await some_certificate(tmp_path / "tls")
    secure = replace(LISTEN, tls=tls)
    context = await asyncio.to_thread(believing, made)
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(running_origin(storage))

        async def edge(
            name: str,
            listen: ListenSettings = LISTEN,
            crew: Crew = ALONE,
            *,
            lane: bool = True,
        ) -> Node:
            return await stack.enter_async_context(
                running_edge(
                    tmp_path / name,
                    origin.url,
                    listen=listen,
                    guard=gate,
                    node_lease=node_lease,
                    fast_lane=lane,
                    crew=crew,
                )
            )

        found = [
            Way("aiohttp", await edge("full", lane=False)),
            Way("fast lane", await edge("fast")),
            Way("aiohttp over TLS", await edge("full-tls", secure, lane=False), context),
            Way("fast lane over TLS", await edge("fast-tls", secure), context),
            Way("worker", await edge("crew", crew=Crew(0, 2))),
            Way("other worker", await edge("crew", crew=Crew(1, 2), lane=False)),
        ]
        warm = b"".join(Asked("GET", path, (), LEASE).encode() for path in [*CONTENT, *OTHERS])
        for way in found:
            methods = ["GET"] * (len(CONTENT) + len(OTHERS) + 1)
            *answers, _ = await way.answers(warm + LAST.encode(), [], methods)
            assert all(" 200 " in str(answer) for answer in answers), (way.name, answers)
        yield found


async def alike(
    ways: Sequence[Way], sent: bytes, cuts: Sequence[int], methods: Sequence[str]
) -> list[object]:
    first, *others = await asyncio.gather(*(way.answers(sent, cuts, methods) for way in ways))
    for way, other in zip(ways[1:], others, strict=True):
        assert other == first, way.name
    return first


@many
@given(
    requests=st.lists(ORDERLY, min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 2000), max_size=6),
)
async def test_a_conversation_is_answered_alike_by_every_way_in(
    ways: list[Way], requests: list[Asked], cuts: list[int]
) -> None:
    sent = b"".join(asked.encode() for asked in [*requests, LAST])
    await alike(ways, sent, cuts, [asked.method for asked in [*requests, LAST]])


@many
@given(requests=st.lists(ANY, min_size=1, max_size=6))
async def test_requests_that_wait_for_their_turn_are_answered_alike_by_every_way_in(
    ways: list[Way], requests: list[Asked]
) -> None:
    first, *others = await asyncio.gather(*(way.in_turn(requests) for way in ways))
    for way, other in zip(ways[1:], others, strict=True):
        assert other == first, way.name
    lanes = [way.node.metric("playhead_edge_http_fast_lane_total") for way in ways]
    event(f"lanes used: {sum(map(bool, lanes))}")


async def test_a_request_cut_anywhere_is_answered_as_if_it_were_whole(ways: list[Way]) -> None:
    asked = Asked("GET", BUNDLE, ("Range: bytes=7-9",), LEASE)
    sent, methods = asked.encode() + LAST.encode(), ["GET", "GET"]
    whole = await ways[0].answers(sent, [], methods)
    assert " 206 " in str(whole[0])
    for way in ways[:2]:
        for cut in range(1, len(asked.encode()) + 3):
            assert await way.answers(sent, [cut], methods) == whole, (way.name, cut)


async def test_nothing_is_hidden_behind_content_that_is_at_hand(ways: list[Way]) -> None:
    """A request that is answered at once is before it, one that must not be answered in it."""
    plain = Asked("GET", f"{BUNDLE}/2", (), LEASE).encode()
    opening = f"GET {BUNDLE}/2 HTTP/1.1\r\nHost: an-edge\r\n{HEADER}: {LEASE}\r\n"
    for name, framing in FRAMINGS.items():
        sent = plain + (opening + framing).encode("latin-1")
        for way in ways[:2]:
            for cuts in ([], [len(plain)], [len(plain) - 2, len(sent) - 3]):
                *answers, rest = await way.answers(sent, cuts, ["GET"] * 3)
                statuses = [str(answer).split()[1] for answer in answers]
                # What comes in one piece with a request that is refused may be refused with it.
                assert statuses in (["400"], ["200", "400"]), (name, way.name, cuts, statuses)
                assert rest == b"", (name, way.name)
