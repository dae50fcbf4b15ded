"""What any edge must do, asked of ours, of nginx and of Varnish in front of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from chunks.chunk_id import digest_of
from chunks.slices import SLICE_SIZE
from edge.engines.deviations import NONSENSE_IS_IGNORED, deviates
from manifests.addresses import HEAD_CACHE, IMMUTABLE_CACHE, JSON
from manifests.trust_bundle import encode_bundle
from tests import titles
from tests.bundles_of_trust import documents_of, vouching_for
from tests.engines import ENGINES, Engine, running
from tests.servers.upstream import Upstream
from tests.serving import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

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
CONTENT = ["manifest", "bundle", "slices", "slice"]
rows = pytest.mark.parametrize("row", ROWS)
content = pytest.mark.parametrize("row", CONTENT)


def etag_of(row: str) -> str:
    if row == "bundle":
        return f'"{title.bundle_address.bundle_id.hex()}"'
    return f'"{digest_of(ROWS[row][1]).hex()}"'


def said(reply: Reply, header: str) -> list[str]:
    """Return what all lines of a header say together."""
    lines = [value for name, value in reply.headers.items() if name.lower() == header.lower()]
    return [word.strip() for word in ",".join(lines).split(",")]


def some_origin() -> Upstream:
    origin = Upstream()
    origin.publish(title)
    origin.objects |= {f"/trust/{name}": document for name, document in vouching.files.items()}
    origin.objects[f"{title.head_address.path}/trust"] = BUNDLE_OF_TRUST
    return origin


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENGINES)
async def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Engine]:
    """One for all tests that only read; some have it cold, most warm."""
    folder = tmp_path_factory.mktemp(request.param)
    async with some_origin().running() as origin, running(request.param, folder, origin) as engine:
        yield engine


@rows
async def test_get_returns_the_object_under_its_name(engine: Engine, row: str) -> None:
    path, body, cache_control = ROWS[row]
    for _ in "cold", "warm":
        reply = await engine.ask(path)
        assert reply.status == 200
        assert reply.body == body
        assert reply.headers["ETag"] == etag_of(row)
        assert reply.headers["Cache-Control"] == cache_control
        assert reply.headers["Content-Length"] == str(len(body))
        assert reply.headers["Accept-Ranges"] == "bytes"
        assert (reply.headers["Content-Type"] == JSON) == (row in DOCUMENTS)


@rows
async def test_head_is_get_without_the_body(engine: Engine, row: str) -> None:
    path, body, cache_control = ROWS[row]
    reply = await engine.ask(path, "HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["ETag"] == etag_of(row)
    assert reply.headers["Cache-Control"] == cache_control
    assert reply.headers["Content-Length"] == str(len(body))


@rows
async def test_what_the_client_has_is_not_sent_again(engine: Engine, row: str) -> None:
    reply = await engine.ask(ROWS[row][0], If_None_Match=f'"other", W/{etag_of(row)}')
    assert (reply.status, reply.body) == (304, b"")
    assert reply.headers["ETag"] == etag_of(row)
    assert reply.headers["Cache-Control"] == ROWS[row][2]


async def test_another_tag_brings_the_object(engine: Engine) -> None:
    reply = await engine.ask(BUNDLE, If_None_Match='"other"')
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
        (f"bytes={SIZE - 1}-999999999999999", SIZE - 1, SIZE),
    ],
)
async def test_one_span_is_answered_with_just_that(
    engine: Engine, asked: str, start: int, end: int
) -> None:
    reply = await engine.ask(BUNDLE, Range=asked)
    assert reply.status == 206
    assert reply.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert reply.headers["ETag"] == etag_of("bundle")
    assert reply.body == title.bundle[start:end]


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
async def test_a_span_outside_is_refused_with_the_size(engine: Engine, asked: str) -> None:
    reply = await engine.ask(BUNDLE, Range=asked)
    assert reply.status == 416
    assert reply.headers["Content-Range"] == f"bytes */{SIZE}"
    # nginx says how long the whole may be kept as well: the strictest counts.
    assert "no-store" in said(reply, "Cache-Control")
    assert reply.json()["code"] == "range-outside"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-9", "lines=0-1", "bytes=9-5", "bytes=-", "x"])
async def test_several_spans_or_nonsense_bring_the_whole(engine: Engine, asked: str) -> None:
    reply = await engine.ask(BUNDLE, Range=asked)
    if asked in {"bytes=9-5", "bytes=-"} and deviates(engine.name, NONSENSE_IS_IGNORED):
        assert reply.status == 416
        return
    assert (reply.status, reply.body) == (200, title.bundle)


async def test_a_span_counts_only_for_the_tag_it_was_cut_from(engine: Engine) -> None:
    same = await engine.ask(BUNDLE, Range="bytes=0-3", If_Range=etag_of("bundle"))
    other = await engine.ask(BUNDLE, Range="bytes=0-3", If_Range='"other"')
    weak = await engine.ask(BUNDLE, Range="bytes=0-3", If_Range=f"W/{etag_of('bundle')}")
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
        "/_playhead/lease",
        "/_playhead/node",
        "/gate/v1/node",
        "/",
    ],
)
async def test_what_nobody_published_is_not_found(engine: Engine, path: str) -> None:
    reply = await engine.ask(path)
    assert reply.status == 404
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.json()["code"] == "not-found"


@rows
async def test_a_query_is_refused(engine: Engine, row: str) -> None:
    reply = await engine.ask(f"{ROWS[row][0]}?a=1")
    assert reply.status == 400
    assert reply.json()["code"] == "bad-request"


async def test_other_methods_are_refused(engine: Engine) -> None:
    reply = await engine.ask(BUNDLE, "DELETE")
    assert reply.status == 405
    assert reply.headers["Allow"] == "GET,HEAD"
