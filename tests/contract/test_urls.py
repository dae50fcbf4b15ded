"""One suite for ``docs/format/urls.md``, on every node that serves it: same URL, same answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chunks.chunk_id import digest_of
from chunks.slices import SLICE_SIZE
from kit.object_storage.testing import MemoryStorage
from manifests.addresses import HEAD_CACHE, IMMUTABLE_CACHE, JSON
from manifests.locations import TRUST_PREFIX
from manifests.trust_bundle import encode_bundle
from tests import titles
from tests.bundles_of_trust import documents_of, vouching_for
from tests.serving import Node, running_edge, running_origin

title = titles.some_title()
SIZE = len(title.bundle)
BUNDLE = title.bundle_address.path

vouching = vouching_for(title)
BUNDLE_OF_TRUST = encode_bundle(documents_of(vouching, title.head))

ROWS = {
    "head": (title.head_address.path, title.head, HEAD_CACHE),
    "release": (title.release_address.path, title.release, IMMUTABLE_CACHE),
    "manifest": (title.manifest_address.path, title.manifest, IMMUTABLE_CACHE),
    "bundle": (BUNDLE, title.bundle, IMMUTABLE_CACHE),
    "slices": (title.slice_list_address.path, title.slices.encode(), IMMUTABLE_CACHE),
    "slice": (f"{BUNDLE}/0", title.slice(0), IMMUTABLE_CACHE),
    "last slice": (f"{BUNDLE}/2", title.slice(2), IMMUTABLE_CACHE),
    "timestamp": ("/trust/timestamp.json", vouching.files["timestamp.json"], HEAD_CACHE),
    "metadata": ("/trust/1.root.json", vouching.root, IMMUTABLE_CACHE),
    "trust bundle": (f"{title.head_address.path}/trust", BUNDLE_OF_TRUST, HEAD_CACHE),
}
DOCUMENTS = {"head", "release", "timestamp", "metadata"}
rows = pytest.mark.parametrize("row", ROWS)


def etag_of(row: str) -> str:
    if row == "bundle":
        return f'"{title.bundle_address.bundle_id.hex()}"'
    return f'"{digest_of(ROWS[row][1]).hex()}"'


@pytest.fixture(
    params=[
        "origin",
        "cold edge",
        "warm edge",
        "warm edge without its fast lane",
        "edge behind an edge",
    ]
)
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    storage = MemoryStorage()
    await titles.put(storage, title)
    for name, document in vouching.files.items():
        await storage.put(TRUST_PREFIX + name, document)
    async with running_origin(storage) as origin:
        match request.param:
            case "origin":
                yield origin
            case "edge behind an edge":
                async with (
                    running_edge(tmp_path / "near", origin.url) as shield,
                    running_edge(tmp_path / "far", shield.url) as edge,
                ):
                    yield edge
            case _:
                is_fast = "without" not in request.param
                async with running_edge(tmp_path, origin.url, fast_lane=is_fast) as edge:
                    if "warm" in request.param:
                        for path, _, _ in ROWS.values():
                            await edge.ask(path)
                    yield edge


@rows
async def test_get_returns_the_object_under_its_name(node: Node, row: str) -> None:
    path, content, cache_control = ROWS[row]
    reply = await node.ask(path)
    assert reply.status == 200
    assert reply.body == content
    assert reply.headers["ETag"] == etag_of(row)
    assert reply.headers["Cache-Control"] == cache_control
    assert reply.headers["Content-Length"] == str(len(content))
    assert reply.headers["Accept-Ranges"] == "bytes"
    assert (reply.headers["Content-Type"] == JSON) == (row in DOCUMENTS)


@rows
async def test_head_is_get_without_the_body(node: Node, row: str) -> None:
    path, content, cache_control = ROWS[row]
    reply = await node.ask(path, "HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["ETag"] == etag_of(row)
    assert reply.headers["Cache-Control"] == cache_control
    assert reply.headers["Content-Length"] == str(len(content))


@rows
async def test_what_the_client_has_is_not_sent_again(node: Node, row: str) -> None:
    reply = await node.ask(ROWS[row][0], If_None_Match=f'"other", W/{etag_of(row)}')
    assert (reply.status, reply.body) == (304, b"")
    assert reply.headers["ETag"] == etag_of(row)
    assert reply.headers["Cache-Control"] == ROWS[row][2]


async def test_another_tag_brings_the_object(node: Node) -> None:
    reply = await node.ask(BUNDLE, If_None_Match='"other"')
    assert (reply.status, reply.body) == (200, title.bundle)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        (f"bytes={SLICE_SIZE - 1}-{SLICE_SIZE}", SLICE_SIZE - 1, SLICE_SIZE + 1),
        (f"bytes={SLICE_SIZE}-{2 * SLICE_SIZE - 1}", SLICE_SIZE, 2 * SLICE_SIZE),
        ("bytes=5-", 5, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=-{SIZE + 1}", 0, SIZE),
        (f"bytes={SIZE - 1}-999999999999999999999", SIZE - 1, SIZE),
    ],
)
async def test_one_span_is_answered_with_just_that(
    node: Node, asked: str, start: int, end: int
) -> None:
    reply = await node.ask(BUNDLE, Range=asked)
    assert reply.status == 206
    assert reply.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert reply.headers["ETag"] == etag_of("bundle")
    assert reply.body == title.bundle[start:end]


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
async def test_a_span_outside_is_refused_with_the_size(node: Node, asked: str) -> None:
    reply = await node.ask(BUNDLE, Range=asked)
    assert reply.status == 416
    assert reply.headers["Content-Range"] == f"bytes */{SIZE}"
    assert reply.json()["code"] == "range-outside"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-9", "lines=0-1", "bytes=9-5", "bytes=-", "x"])
async def test_several_spans_or_nonsense_bring_the_whole(node: Node, asked: str) -> None:
    reply = await node.ask(BUNDLE, Range=asked)
    assert (reply.status, reply.body) == (200, title.bundle)


async def test_a_span_counts_only_for_the_tag_it_was_cut_from(node: Node) -> None:
    same = await node.ask(BUNDLE, Range="bytes=0-3", If_Range=etag_of("bundle"))
    other = await node.ask(BUNDLE, Range="bytes=0-3", If_Range='"other"')
    weak = await node.ask(BUNDLE, Range="bytes=0-3", If_Range=f"W/{etag_of('bundle')}")
    assert (same.status, other.status, weak.status) == (206, 200, 200)


@pytest.mark.parametrize(
    "path",
    [
        f"/t/a-title/b/{titles.absent(title).hex()}",
        f"/t/a-title/b/{titles.absent(title).hex()}/0",
        f"/t/a-title/b/{titles.absent(title).hex()}/slices",
        f"/t/a-title/m/{titles.absent(title).hex()}",
        "/t/a-title/h/beta",
        "/t/a-title/r/0000000002",
        f"{BUNDLE}/3",
    ],
)
async def test_what_nobody_published_is_not_found(node: Node, path: str) -> None:
    reply = await node.ask(path)
    assert reply.status == 404
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.json()["code"] == "not-found"


@pytest.mark.parametrize(
    "path",
    [
        "/t/A-title/h/live",
        "/t/a-title/h/live/",
        "/t/a-title/r/1",
        f"{BUNDLE.rpartition('/')[0]}/{title.bundle_address.bundle_id.hex().upper()}",
        f"{BUNDLE}/00",
        f"{BUNDLE}/32",
        f"{BUNDLE}/Slices",
        BUNDLE[:-1],
        "/t/",
        "/t/a-title/w/0000000001",
    ],
)
async def test_another_spelling_is_not_found(node: Node, path: str) -> None:
    assert (await node.ask(path)).status == 404


@rows
async def test_a_query_is_refused(node: Node, row: str) -> None:
    reply = await node.ask(f"{ROWS[row][0]}?a=1")
    assert reply.status == 400
    assert reply.json()["code"] == "bad-request"


async def test_other_methods_are_refused(node: Node) -> None:
    reply = await node.ask(BUNDLE, "DELETE")
    assert reply.status == 405
    assert reply.headers["Allow"] == "GET,HEAD"
