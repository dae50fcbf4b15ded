"""Scrubbing: what rots on the disk of an edge is found, dropped, and had from upstream again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.scrubbing import PROGRESS_NAME, Progress
from edge.store.segment_paths import PATH_SIZE_MAX, RECORD_SIZE, read_path, write_path
from kit.units import MIB, ByteSize, Seconds
from tests import titles
from tests.operated_edge import operated_edge
from tests.polling import eventually
from tests.servers.upstream import Fault, Upstream
from tests.serving import Node, running_edge
from tests.stored_blobs import OnDisk, blobs_on_disk

title = titles.some_title()
BUNDLE = title.bundle_address
OFTEN: dict[str, Any] = {"scrub_bytes_per_s": ByteSize(1 << 40), "scrub_every": Seconds(0.05)}
BLOBS = 5
"""Three slices, their list, a manifest."""


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    upstream.publish(title)
    async with upstream.running():
        yield upstream


async def filled(edge: Node, folder: Path) -> list[OnDisk]:
    """Have all of the title cached, and return where it lies."""
    for path in (BUNDLE.path, title.manifest_address.path):
        assert (await edge.ask(path)).status == 200

    async def is_written() -> bool:
        return len(blobs_on_disk(folder)) == BLOBS

    await eventually(is_written)
    return blobs_on_disk(folder)


def flip(blob: OnDisk) -> None:
    """Turn one bit round, somewhere in a blob."""
    content = bytearray(blob.read())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    blob.overwrite(bytes(content))


async def becomes(edge: Node, metric: str, at_least: float) -> None:
    async def has() -> bool:
        return edge.metric(f"playhead_edge_{metric}") >= at_least

    await eventually(has)


async def test_bits_that_flip_under_a_running_edge_are_found_and_mended(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, upstream.url, **OFTEN) as edge:
        before = await filled(edge, tmp_path)
        for blob in before:
            flip(blob)
        await becomes(edge, "scrub_repaired_total", BLOBS)
        assert edge.metric("playhead_edge_scrub_rotten_total") == BLOBS
        after = {blob.name: blob.read() for blob in blobs_on_disk(tmp_path)}
        assert set(after) == {blob.name for blob in before}
        assert title.slice(1) in after.values()
        asked = dict(upstream.asked)
        assert (await edge.ask(BUNDLE.path)).body == title.bundle
        assert dict(upstream.asked) == asked


async def test_a_bit_that_flips_is_found_on_read_and_mended(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, upstream.url, scrub_bytes_per_s=ByteSize(0)) as edge:
        blobs = await filled(edge, tmp_path)
    async with running_edge(tmp_path, upstream.url, scrub_bytes_per_s=ByteSize(0)) as edge:
        for blob in blobs:
            flip(blob)
        assert (await edge.ask(BUNDLE.path)).body == title.bundle
        assert edge.metric("playhead_edge_verify_failures_total", where="disk") == BLOBS - 1
        assert edge.metric("playhead_edge_scrubbed_bytes_total") == 0


async def test_what_upstream_lacks_is_dropped_and_counts_as_not_repaired(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, upstream.url, **OFTEN) as edge:
        blobs = await filled(edge, tmp_path)
        upstream.objects.clear()
        flip(next(blob for blob in blobs if blob.size == MIB))
        await becomes(edge, "scrub_rotten_total", 1)
        await becomes(edge, "scrubbed_bytes_total", 10 * MIB)
        assert edge.metric("playhead_edge_scrub_repaired_total") == 0
        assert len(blobs_on_disk(tmp_path)) == BLOBS - 1


async def test_wrong_bytes_from_upstream_mend_nothing(upstream: Upstream, tmp_path: Path) -> None:
    async with running_edge(tmp_path, upstream.url, **OFTEN) as edge:
        blobs = await filled(edge, tmp_path)
        upstream.spoil(Fault.FLIPPED)
        flip(next(blob for blob in blobs if blob.size == MIB))

        async def is_refused() -> bool:
            return edge.metric("playhead_edge_verify_failures_total", where="upstream") > 0

        await eventually(is_refused)
        assert edge.metric("playhead_edge_scrub_repaired_total") == 0


async def test_a_pin_outlives_the_rot_of_what_it_holds(upstream: Upstream, tmp_path: Path) -> None:
    async with operated_edge(tmp_path, upstream.url, **OFTEN) as it:
        blobs = await filled(it.node, tmp_path)
        one = next(blob for blob in blobs if blob.size == MIB)
        until = int(it.edge.clock.now()) + 1000
        it.edge.store.pin([one.name], until)
        flip(one)
        await becomes(it.node, "scrub_repaired_total", 1)

        async def is_pinned() -> bool:
            stored = it.edge.store.stored(one.name)
            return stored is not None and stored.pinned_until == until

        await eventually(is_pinned)
        status = await it.get("status")
        assert (status["scrub"]["rotten"], status["scrub"]["repaired"]) == (1, 1)
        assert status["scrub"]["size"] >= MIB


async def test_a_restart_goes_on_where_it_was(upstream: Upstream, tmp_path: Path) -> None:
    off = ByteSize(0)
    async with running_edge(tmp_path, upstream.url, scrub_bytes_per_s=off) as edge:
        blobs = await filled(edge, tmp_path)
    done, left = blobs[0], blobs[-1]
    assert done.path.parent != left.path.parent
    for blob in (done, left):
        flip(blob)
    for blob, progress in (
        (done, Progress(ended_s=2e9, begun_s=2e9, since_s=2e9)),
        (left, Progress(begun_s=1e9, since_s=1e9, next_segment=int(left.path.stem))),
    ):
        (blob.path.parent / PROGRESS_NAME).write_bytes(msgspec.json.encode(progress))
    async with running_edge(tmp_path, upstream.url, scrub_bytes_per_s=ByteSize(1 << 40)) as edge:
        await becomes(edge, "scrub_repaired_total", 1)
        assert edge.metric("playhead_edge_scrub_rotten_total") == 1  # not of the shelf not due


async def test_its_place_is_kept_and_what_is_no_place_is_begun_anew(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, upstream.url, **OFTEN) as edge:
        blobs = await filled(edge, tmp_path)
        file = blobs[0].path.parent / PROGRESS_NAME

        async def is_noted() -> bool:
            return file.exists() and b'"since_s"' in file.read_bytes()

        await eventually(is_noted)
        assert edge.metric("playhead_edge_scrub_pass_age_seconds") < 60
    file.write_bytes(b"{")
    async with running_edge(tmp_path, upstream.url, **OFTEN) as edge:
        await eventually(is_noted)


async def test_it_ends_at_once_in_mid_pass(upstream: Upstream, tmp_path: Path) -> None:
    slow: dict[str, Any] = {"scrub_bytes_per_s": ByteSize(1), "scrub_every": Seconds(0.05)}
    async with running_edge(tmp_path, upstream.url, **slow) as edge:
        await filled(edge, tmp_path)

        async def is_under_way() -> bool:
            return edge.metric("playhead_edge_scrub_pass_age_seconds") > 0

        await eventually(is_under_way)
        leaving = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - leaving < 5


@pytest.mark.parametrize("path", ["/t/game/m/ab", "x" * PATH_SIZE_MAX])
def test_a_path_is_read_as_it_was_written(tmp_path: Path, path: str) -> None:
    file = tmp_path / "paths"
    write_path(file, 0, "/another")
    write_path(file, 7, path)
    assert read_path(file, 7) == path
    assert read_path(file, 0) == "/another"


def test_what_was_not_written_or_rotted_is_no_path(tmp_path: Path) -> None:
    file = tmp_path / "paths"
    assert read_path(file, 0) == ""
    write_path(file, 1, "/t/game")
    write_path(file, 2, "x" * (PATH_SIZE_MAX + 1))
    assert [read_path(file, row) for row in (0, 2, 3)] == ["", "", ""]
    content = bytearray(file.read_bytes())
    content[RECORD_SIZE + 8] ^= 1
    file.write_bytes(content)
    assert read_path(file, 1) == ""
