"""Who is let in, what is written down of it, and what the smaller calls do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chunks.slices import SLICE_SIZE
from kit.object_storage.testing import MemoryStorage
from kit.units import ByteSize
from manifests.addresses import SliceListAddress
from tests import titles
from tests.operated_edge import SECRET, Operated, operated_edge
from tests.polling import eventually
from tests.serving import Node, running_origin

title = titles.some_title()
BUNDLE = title.bundle_address
DOORS = [
    ("GET", "status"),
    ("GET", "explain/whatever"),
    ("GET", "warms"),
    ("POST", "warms"),
    ("GET", "warms/20260101t000000-00000000"),
    ("GET", "warms/20260101t000000-00000000/events"),
    ("DELETE", "warms/20260101t000000-00000000"),
    ("POST", "purge"),
    ("POST", "pins"),
    ("POST", "supersede"),
    ("POST", "drain"),
]


@pytest.fixture
async def origin() -> AsyncIterator[Node]:
    storage = MemoryStorage()
    await titles.put(storage, title)
    async with running_origin(storage) as origin:
        yield origin


@pytest.fixture
async def operated(origin: Node, tmp_path: Path) -> AsyncIterator[Operated]:
    async with operated_edge(tmp_path / "cache", origin.url) as operated:
        yield operated


async def fetched(operated: Operated, path: str) -> bytes:
    """Return what players get, once all of it is on disk as well."""
    reply = await operated.node.ask(path)
    assert reply.status == 200, reply

    async def is_kept() -> bool:
        return not operated.edge.blobs.is_writing

    await eventually(is_kept)
    return reply.body


@pytest.mark.parametrize(("method", "path"), DOORS)
@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", SECRET[:-1]])
async def test_nobody_gets_in_without_the_secret(
    operated: Operated, method: str, path: str, secret: str | None
) -> None:
    reply = await operated.tell(method, path, {} if method == "POST" else None, secret=secret)
    assert (reply.status, reply.json()["code"]) == (401, "unauthenticated")
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    [line] = operated.notes
    assert (line["who"], line["outcome"]) == ("somebody unknown", "unauthenticated")
    assert line["on"] == f"/edge/v1/{path}"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "crew/names"), ("GET", "crew/names/a-title"), ("POST", "crew/documents")],
)
async def test_what_workers_tell_each_other_is_no_door_for_anyone(
    operated: Operated, method: str, path: str
) -> None:
    for secret in (None, SECRET):
        reply = await operated.tell(method, path, {} if method == "POST" else None, secret=secret)
        assert reply.status == 404


async def test_who_guesses_is_soon_not_listened_to_nor_written_down(operated: Operated) -> None:
    replies = [await operated.tell("GET", "status", secret=f"guess {n}") for n in range(15)]
    assert [reply.status for reply in replies] == [401] * 10 + [429] * 5
    assert len(operated.notes) == 10


@pytest.mark.parametrize("path", ["status?x", "warms?all"])
async def test_doors_take_no_query(operated: Operated, path: str) -> None:
    assert (await operated.tell("GET", path)).status == 400


async def test_a_busy_edge_answers_its_operator(origin: Node, tmp_path: Path) -> None:
    async with operated_edge(tmp_path / "cache", origin.url) as operated:
        state = operated.node.binder.state
        state.running = state.settings.requests_max
        assert (await operated.node.ask(BUNDLE.path)).status == 503
        assert (await operated.get("status"))["requests_running"] == state.running
        state.running = 0


async def test_changes_are_written_down_and_looks_are_not(operated: Operated) -> None:
    await operated.get("status")
    await operated.post("purge", target="a-title", hard=True)
    await operated.post("purge", target="a-title", dry_run=True)
    await operated.post("drain", draining=True)
    await operated.post("drain", draining=False)
    await operated.tell("POST", "purge", {"target": "A"})
    found = [(line["what"], line["on"], line["outcome"]) for line in operated.notes]
    assert found == [
        ("hard purge", "a-title", "ok"),
        ("dry purge", "a-title", "ok"),
        ("drain", "", "ok"),
        ("undrain", "", "ok"),
        ("purge", "A", "invalid-input"),
    ]
    assert {line["address"] for line in operated.notes} == {"127.0.0.1"}


async def test_status_tells_what_was_served_and_from_where(operated: Operated) -> None:
    nothing = await operated.get("status")
    assert (nothing["byte_hit_ratio"], nothing["origin_bytes_per_byte"]) == (None, None)
    await fetched(operated, BUNDLE.path)
    first = await operated.get("status")
    assert first["byte_hit_ratio"] == 0
    await fetched(operated, BUNDLE.path)
    second = await operated.get("status")
    assert second["byte_hit_ratio"] == 0.5
    assert second["served"]["fill"] == {"count": 3, "size": len(title.bundle)}
    assert second["fills"] == 4  # the slice list, too
    assert second["upstream_size"] == len(title.bundle) + len(title.slices.encode())
    assert 0.5 < second["origin_bytes_per_byte"] < 0.51
    # On disk it is in blocks of 4 KiB.
    assert 0 <= second["cache"]["size"] - second["upstream_size"] < 4 * 4096
    assert second["cache"]["blobs"] == 4
    assert second["upstreams"][0]["healthy"] is True
    assert second["workers"] == 1


async def test_status_shows_an_upstream_that_fails_and_why(tmp_path: Path) -> None:
    async with operated_edge(tmp_path / "cache", "http://127.0.0.1:9") as operated:
        assert (await operated.node.ask(BUNDLE.path)).status == 502
        [upstream] = (await operated.get("status"))["upstreams"]
        assert upstream["healthy"] is False
        assert upstream["failures"] >= 1
        assert "127.0.0.1:9" in upstream["last_fault"]


async def test_a_drained_edge_is_not_ready_answers_still_and_comes_back(
    operated: Operated,
) -> None:
    assert (await operated.node.ask("/readyz")).status == 200
    assert await operated.post("drain", draining=True) == {
        "draining": True,
        "requests_running": 0,
    }
    assert (await operated.node.ask("/readyz")).status == 503
    reply = await operated.node.ask(f"{BUNDLE.path}/0")
    assert (reply.status, reply.headers["Connection"]) == (200, "close")
    assert (await operated.get("status"))["draining"] is True
    await operated.post("drain", draining=False)
    assert (await operated.node.ask("/readyz")).status == 200
    assert "Connection" not in (await operated.node.ask(f"{BUNDLE.path}/0")).headers


async def test_throughput_is_sampled(operated: Operated) -> None:
    await fetched(operated, BUNDLE.path)

    async def is_sampled() -> bool:
        rates = (await operated.get("status"))["rates"]
        return any(rate["served_bytes"] > SLICE_SIZE / 10 for rate in rates)

    await eventually(is_sampled)


@pytest.mark.parametrize(
    ("target", "count", "size"),
    [
        (f"{BUNDLE.path}/1", 1, SLICE_SIZE),
        (BUNDLE.path, 4, len(title.bundle) + len(title.slices.encode())),
        (f"{BUNDLE.path}/slices", 1, len(title.slices.encode())),
        (title.slices.digests[0].hex(), 1, SLICE_SIZE),
        (BUNDLE.bundle_id.hex(), 4, len(title.bundle) + len(title.slices.encode())),
        (title.manifest_address.path, 1, len(title.manifest)),
        (title.manifest_address.digest.hex(), 1, len(title.manifest)),
    ],
)
async def test_a_hard_purge_drops_what_a_dry_run_says_and_nothing_else(
    operated: Operated, target: str, count: int, size: int
) -> None:
    for path in (BUNDLE.path, title.manifest_address.path, title.head_address.path):
        await fetched(operated, path)
    before = (await operated.get("status"))["cache"]
    plan = await operated.post("purge", target=target, hard=True, dry_run=True)
    assert plan["blobs"] == {"count": count, "size": size}
    assert (await operated.get("status"))["cache"] == before
    done = await operated.post("purge", target=target, hard=True)
    assert done["blobs"] == plan["blobs"]
    after = (await operated.get("status"))["cache"]
    assert before["blobs"] - after["blobs"] == count
    assert 0 <= before["size"] - after["size"] - size < count * 4096
    assert (await operated.post("purge", target=target, hard=True, dry_run=True))["blobs"] == {
        "count": 0,
        "size": 0,
    } or target.startswith(BUNDLE.path)


async def test_what_was_purged_is_fetched_again(operated: Operated) -> None:
    await fetched(operated, BUNDLE.path)
    fills = (await operated.get("status"))["fills"]
    await operated.post("purge", target=BUNDLE.path, hard=True)
    assert await fetched(operated, BUNDLE.path) == title.bundle
    assert (await operated.get("status"))["fills"] == fills + 4


async def test_a_document_that_is_purged_softly_is_asked_for_again_and_hard_is_gone(
    operated: Operated, origin: Node
) -> None:
    path = title.head_address.path
    await fetched(operated, path)
    assert "hit" in (await operated.node.ask(path)).headers["Cache-Status"]
    soft = await operated.post("purge", target=path)
    assert soft["documents"] == {"count": 1, "size": len(title.head)}
    assert "fwd=stale" in (await operated.node.ask(path)).headers["Cache-Status"]
    await operated.post("purge", target=path, hard=True)
    assert "fwd=miss" in (await operated.node.ask(path)).headers["Cache-Status"]


async def test_an_object_is_explained_before_and_after(operated: Operated) -> None:
    path = f"{BUNDLE.path}/1"
    await fetched(operated, f"{BUNDLE.path}/0")
    never = await operated.get(f"explain{path}")
    assert (never["cached"], never["gone"], never["kind"]) == (False, "never seen", "slice")
    await fetched(operated, path)
    for what in (path, title.slices.digests[1].hex()):
        here = await operated.get(f"explain/{what.lstrip('/')}")
        assert (here["cached"], here["size"]) == (True, SLICE_SIZE), here
    await operated.post("purge", target=path, hard=True)
    for what in (path, title.slices.digests[1].hex()):
        gone = await operated.get(f"explain/{what.lstrip('/')}")
        assert (gone["cached"], gone["gone"]) == (False, "purged by an operator")
        assert gone["gone_s"] > 0
        assert "purged by an operator" in gone["text"]


async def test_slice_lists_roots_and_documents_are_explained(operated: Operated) -> None:
    await fetched(operated, BUNDLE.path)
    await fetched(operated, title.head_address.path)
    await fetched(operated, title.manifest_address.path)
    lists = SliceListAddress(titles.TITLE, BUNDLE.bundle_id).path
    for path, kind in (
        (lists, "slice-list"),
        (BUNDLE.path, "slice-list"),
        (title.head_address.path, "document"),
        (title.manifest_address.path, "manifest"),
    ):
        found = await operated.get(f"explain{path}")
        assert (found["cached"], found["kind"]) == (True, kind)
    assert (await operated.tell("GET", "explain/a-title")).status == 422


async def test_following_ends_when_an_edge_drains(operated: Operated) -> None:
    begun = await operated.begin_warm(max_rate=1)
    following = asyncio.create_task(operated.followed(begun["warm_id"]))
    await operated.post("drain", draining=True)
    async with asyncio.timeout(5):
        told = await following
    assert told[-1]["phase"] in ("planning", "running", "failed")


async def test_what_rotted_is_explained_as_that_and_mended(origin: Node, tmp_path: Path) -> None:
    folder, path = tmp_path / "cache", f"{BUNDLE.path}/1"
    async with operated_edge(folder, origin.url) as operated:
        await fetched(operated, path)

    def rot() -> None:
        for file in folder.glob("segments/**/*.data"):
            content = file.read_bytes().replace(title.slice(1), bytes(SLICE_SIZE))
            with file.open("r+b") as out:
                out.write(content)

    await asyncio.to_thread(rot)
    async with operated_edge(folder, "http://127.0.0.1:9") as operated:
        assert (await operated.node.ask(path)).status == 502
        gone = await operated.get(f"explain{path}")
        assert (gone["cached"], gone["gone"]) == (
            False,
            "dropped, for the disk gave back other bytes",
        )
        assert (await operated.get("status"))["verify_failures"]["disk"] == 1
    async with operated_edge(folder, origin.url) as operated:
        assert await fetched(operated, path) == title.slice(1)


async def test_what_was_evicted_is_explained_as_that(origin: Node, tmp_path: Path) -> None:
    room = ByteSize(5 * SLICE_SIZE // 2)
    async with operated_edge(tmp_path / "cache", origin.url, max_bytes=room) as operated:
        path = f"{BUNDLE.path}/1"
        await fetched(operated, path)
        await fetched(operated, f"{BUNDLE.path}/0")
        await fetched(operated, f"{BUNDLE.path}/2")
        await fetched(operated, title.manifest_address.path)
        gone = await operated.get(f"explain{path}")
        assert (gone["cached"], gone["gone"]) == (False, "evicted for room")
        assert (await operated.get("status"))["evictions"]["room"] >= 1


async def test_a_soft_purge_has_content_verified_again_and_go_first(
    operated: Operated, tmp_path: Path
) -> None:
    path = f"{BUNDLE.path}/1"
    await fetched(operated, path)
    assert "memory" in (await operated.node.ask(path)).headers["Cache-Status"]
    done = await operated.post("purge", target=path)
    assert done["blobs"] == {"count": 1, "size": SLICE_SIZE}
    assert (await operated.get(f"explain{path}"))["superseded"] is True
    again = await operated.node.ask(path)
    assert (again.body, again.headers["Cache-Status"]) == (
        title.slice(1),
        "playhead; hit; detail=disk",
    )
    assert "memory" in (await operated.node.ask(path)).headers["Cache-Status"]


async def test_pins_are_told_and_taken_back(operated: Operated) -> None:
    await fetched(operated, BUNDLE.path)
    until_s = operated.edge.clock.now() + 1000
    done = await operated.post("pins", target=BUNDLE.path, until_s=until_s)
    assert done["pinned"]["count"] == 4
    assert (await operated.get(f"explain{BUNDLE.path}/0"))["pinned_until_s"] == int(until_s)
    undone = await operated.post("pins", target=BUNDLE.path, until_s=0)
    assert undone["pinned"]["count"] == 4
    assert (await operated.get(f"explain{BUNDLE.path}/0"))["pinned_until_s"] == 0


async def test_what_does_not_fit_is_explained_as_that(origin: Node, tmp_path: Path) -> None:
    small = ByteSize(SLICE_SIZE // 4)
    async with operated_edge(tmp_path / "cache", origin.url, max_bytes=small) as operated:
        await fetched(operated, f"{BUNDLE.path}/0")
        found = await operated.get(f"explain{BUNDLE.path}/0")
        assert found["gone"] == "never kept: larger than the cache"
        assert (await operated.get("status"))["not_cached"] == {"too-large": 1}
