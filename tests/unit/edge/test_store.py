"""The store: what it keeps, what it notices, what it survives, and what workers share."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from chunks.chunk_id import Digest, digest_of
from edge.metrics import EdgeMetrics
from edge.store.checking import Checked
from edge.store.disk_faults import REST_S
from edge.store.located import Located, worker_of
from edge.store.segment_spans import SegmentSpan
from edge.store.store import Store
from kit.clock import ManualClock
from kit.errors import FormatError, SettingsError
from kit.file_holes import Punch, punch_hole
from kit.units import MIB
from manifests.names import TitleId
from tests.page_cache import can_tell
from tests.polling import eventually
from tests.stored_blobs import OnDisk, blobs_on_disk, bytes_taken

KIB = 1024
TMPFS = Path("/dev/shm")
needs_page_cache = pytest.mark.skipif(
    not can_tell(), reason="this system cannot tell what it has in memory"
)
TITLE = TitleId("a-title")


class Opened:
    """A store and what it counts."""

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        worker: int,
        workers: int,
        punch: Punch = punch_hole,
    ) -> None:
        self.registry = CollectorRegistry()
        self.folder = folder
        self.clock = ManualClock(1000)
        self.store = Store(
            folder,
            max_bytes=max_bytes,
            threads=2,
            metrics=EdgeMetrics(self.registry),
            clock=self.clock,
            worker=worker,
            workers=workers,
            punch=punch,
        )

    async def keep(self, content: bytes, title: TitleId | None = None) -> Digest:
        digest = digest_of(content)
        await self.store.put(digest, digest, content, title=title)
        return digest

    async def get(self, digest: Digest) -> bytes | None:
        found = await self.store.get(digest, digest)
        return None if found is None else bytes(found)

    def on_disk(self, name: Digest) -> OnDisk:
        return next(blob for blob in blobs_on_disk(self.folder) if blob.name == name)

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"playhead_edge_{name}", labels) or 0.0


@asynccontextmanager
async def opened(
    folder: Path, max_bytes: int = 400 * KIB, worker: int = 0, workers: int = 1
) -> AsyncIterator[Opened]:
    it = Opened(folder, max_bytes, worker, workers)
    async with it.store.open():
        yield it


def blob(seed: int, size: int = 10 * KIB) -> bytes:
    return random.Random(seed).randbytes(size)


def blob_of(worker: int, workers: int) -> bytes:
    """Return a blob that this worker owns."""
    blobs = (blob(seed) for seed in range(1000))
    return next(one for one in blobs if worker_of(digest_of(one), workers) == worker)


async def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
        assert digest in it.store
        assert await it.get(digest) == blob(1)
        assert await it.get(digest_of(b"other")) is None


async def test_an_empty_blob_is_kept_as_well(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        assert await it.get(await it.keep(b"")) == b""


async def test_the_budget_holds_on_disk(tmp_path: Path) -> None:
    async with opened(tmp_path, 200 * KIB) as it:
        for seed in range(100):
            await it.keep(blob(seed, (seed % 7 + 1) * KIB * 3))
            assert it.metric("cached_bytes") <= 200 * KIB
            assert bytes_taken(tmp_path) <= 200 * KIB
        assert it.metric("evictions_total", reason="room") > 0


def no_holes(file: int, start: int, end: int) -> bool:
    """Answer as file systems do that know no holes."""
    assert start < end
    return False


async def test_the_budget_holds_where_no_holes_can_be_made(tmp_path: Path) -> None:
    size_max = 4 * MIB
    it = Opened(tmp_path, size_max, 0, 1, no_holes)
    async with it.store.open():
        kept: dict[Digest, int] = {}
        for seed in range(300):
            kept[await it.keep(blob(seed, 64 * KIB))] = seed
            # That there are no holes is known once the first was refused: one blob too late.
            assert bytes_taken(tmp_path) <= size_max + 64 * KIB
        found = [digest for digest in kept if digest in it.store]
        assert len(found) * 64 * KIB >= size_max // 4  # whole segments went, not the cache
        for digest in found:
            assert await it.get(digest) == blob(kept[digest], 64 * KIB)
    again = Opened(tmp_path, size_max, 0, 1, no_holes)
    async with again.store.open():
        assert all([await again.get(digest) is not None for digest in found])
        for seed in range(300, 400):
            await again.keep(blob(seed, 64 * KIB))
        assert bytes_taken(tmp_path) <= size_max


async def test_a_restart_finds_what_was_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digests = [await it.keep(blob(seed)) for seed in range(20)]
    async with opened(tmp_path) as it:
        assert [await it.get(digest) for digest in digests] == [blob(s) for s in range(20)]


async def test_a_restart_with_a_smaller_budget_drops_the_oldest(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digests = []
        for seed in range(5):
            digests.append(await it.keep(blob(seed)))
            it.clock.advance(1)
    async with opened(tmp_path, 24 * KIB) as it:
        assert [digest in it.store for digest in digests] == [False, False, False, True, True]
        assert bytes_taken(tmp_path) <= 24 * KIB


async def test_a_restart_frees_what_no_row_has(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        await it.keep(blob(1))
        one = it.on_disk(digest_of(blob(1)))
    with one.path.open("ab") as file:  # written, and killed before its row was
        file.write(blob(2, 40 * KIB))
    async with opened(tmp_path) as it:
        assert await it.get(digest_of(blob(1))) == blob(1)
        assert bytes_taken(tmp_path) == 12 * KIB


@pytest.mark.parametrize("content", [b"", b"PHSEG", b"\0" * 12384])
async def test_a_damaged_table_is_dropped_with_its_segment(tmp_path: Path, content: bytes) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
        table = it.on_disk(digest).path.with_suffix(".index")
    table.write_bytes(content)
    async with opened(tmp_path) as it:
        assert await it.get(digest) is None
        assert not table.exists()
        await it.keep(blob(1))
        assert await it.get(digest) == blob(1)


async def test_blobs_in_files_of_their_own_are_removed_and_others_files_stay(
    tmp_path: Path,
) -> None:
    old, mine = tmp_path / "ab" / ("ab" * 32), tmp_path / "cd" / "readme.txt"
    for file in (old, mine):
        file.parent.mkdir()
        file.write_text("content")
    async with opened(tmp_path):
        assert not old.parent.exists()
        assert mine.exists()


async def test_a_flipped_bit_is_noticed_and_mended(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
        it.on_disk(digest).overwrite(b"damaged")
    async with opened(tmp_path) as it:
        assert await it.get(digest) is None
        assert digest not in it.store
        assert it.metric("verify_failures_total", where="disk") == 1
        await it.keep(blob(1))
        assert await it.get(digest) == blob(1)


async def test_a_check_reads_the_disk_and_drops_what_rotted(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digests = [await it.keep(blob(seed)) for seed in range(2)]
        it.on_disk(digests[0]).overwrite(b"damaged")
        assert (await it.store.check(digests[0])).found is Checked.DAMAGED
        assert (await it.store.check(digests[1])).found is Checked.RIGHT
        assert (await it.store.check(digests[0])).found is Checked.GONE
        assert [digest in it.store for digest in digests] == [False, True]


async def test_a_file_cut_short_is_a_miss(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
        os.truncate(it.on_disk(digest).path, 100)
        assert await it.get(digest) is None


async def test_a_cache_deleted_while_it_runs_is_begun_anew(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        kept = await it.keep(blob(1))
        for file in (tmp_path / "segments").glob("*/*"):
            file.unlink()
        for seed in range(40):
            await it.keep(blob(seed))
        assert await it.get(kept) in {None, blob(1)}
        assert len(blobs_on_disk(tmp_path)) > 0


async def test_a_check_of_a_deleted_file_forgets_the_blob_and_blames_no_disk(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
        it.on_disk(digest).path.unlink()
        assert (await it.store.check(digest)).found is Checked.GONE
        assert digest not in it.store
        assert it.metric("verify_failures_total", where="disk") == 0


async def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    async with opened(tmp_path, 5 * KIB) as it:
        digest = await it.keep(blob(1))
        assert digest not in it.store
        assert it.metric("not_cached_total", reason="too-large") == 1


async def test_two_edges_do_not_share_a_folder(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(SettingsError, match=r"edge\.cache_dir: another edge works on"):
            async with opened(tmp_path):
                pass


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match=r"edge\.cache_dir: .*file/cache"):
        async with opened(tmp_path / "file" / "cache"):
            pass


async def test_a_full_disk_drops_nothing_for_what_it_cannot_take_and_recovers(
    small_disk: Path,
) -> None:
    async with opened(small_disk, 10_000 * KIB) as it:
        digests = [await it.keep(blob(seed, 4 * KIB)) for seed in range(20)]
        refused = it.metric("not_cached_total", reason="disk")
        assert refused > 0
        assert it.metric("evictions_total", reason="room") == 0
        kept = [digest for digest in digests if digest in it.store]
        assert len(kept) == 20 - refused > 0
        it.store.drop(kept)

        async def is_freed() -> bool:
            return bytes_taken(small_disk) == 0

        await eventually(is_freed)
        it.clock.advance(REST_S)
        again = await it.keep(blob(digests.index(kept[0]), 4 * KIB))
        assert await it.get(again) is not None
        assert it.metric("verify_failures_total", where="disk") == 0


async def test_a_blob_under_another_name_is_held_against_its_digest(tmp_path: Path) -> None:
    name, digest = digest_of(b"a title's own"), digest_of(blob(1))
    async with opened(tmp_path) as it:
        await it.store.put(name, digest, blob(1))
        assert await it.store.get(name, digest) == blob(1)
        assert await it.get(digest) is None
        assert await it.store.get(name, digest_of(blob(2))) is None
        assert it.metric("verify_failures_total", where="disk") == 1


async def test_verified_bytes_are_read_from_memory_by_span(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        at = it.store.locate(await it.keep(blob(1)))
        assert at is not None
        assert bytes(it.store.read_now(at, 3, 5000) or b"") == blob(1)[3:5000]
        assert Located.parse(at.token) == at


@needs_page_cache
@pytest.mark.skipif(not TMPFS.is_dir(), reason="the system has no tmpfs there")
async def test_a_cache_in_a_tmpfs_is_read_from_memory_too() -> None:
    with tempfile.TemporaryDirectory(dir=TMPFS) as folder:
        async with opened(Path(folder)) as it:
            at = it.store.locate(await it.keep(blob(1)))
            assert at is not None
            assert bytes(it.store.read_now(at, 3, 5000) or b"") == blob(1)[3:5000]


async def test_what_was_not_verified_since_the_start_is_not_taken_from_memory(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
    async with opened(tmp_path) as it:
        at = it.store.locate(digest)
        assert at is not None
        assert it.store.read_now(at, 0, at.size) is None
        assert await it.get(digest) == blob(1)
        assert bytes(it.store.read_now(at, 0, at.size) or b"") == blob(1)


async def test_a_purged_blob_is_gone_at_once_and_its_bytes_soon(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
        at = it.store.locate(digest)
        assert at is not None
        assert it.store.drop([digest, digest_of(b"not here")]) == 1
        assert it.store.read_now(at, 0, at.size) is None
        assert await it.get(digest) is None
    assert bytes_taken(tmp_path) == 0


async def test_pins_outlive_a_restart_and_end_at_their_deadline(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(0))
        absent = digest_of(b"not here")
        report = it.store.pin([digest, absent], until=2000)
        assert (report.pinned, report.absent, report.no_room) == ((digest,), (absent,), ())
    async with opened(tmp_path) as it:
        for seed in range(1, 100):
            await it.keep(blob(seed))
        assert digest in it.store
        it.clock.advance(1000)
        for seed in range(100, 200):
            await it.keep(blob(seed))
        assert digest not in it.store


async def test_blobs_of_a_title_are_listed(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        mine = await it.keep(blob(1), TITLE)
        await it.keep(blob(2), TitleId("another"))
        await it.keep(blob(3))
        [found] = await it.store.of_title(TITLE)
        assert (found.name, found.size, found.stored_at) == (mine, 10 * KIB, 1000)
        it.store.supersede([mine])
        [found] = await it.store.of_title(TITLE)
        assert found.is_superseded


async def test_a_worker_reads_what_another_wrote(tmp_path: Path) -> None:
    mine = blob_of(0, 2)
    async with opened(tmp_path, workers=2) as one, opened(tmp_path, worker=1, workers=2) as other:
        digest = await one.keep(mine)
        at = one.store.locate(digest)
        assert at is not None
        assert await other.get(digest) is None
        other.store.adopt(digest, Located.parse(at.token))
        assert await other.get(digest) == mine
        assert bytes(other.store.read_now(at, 0, at.size) or b"") == mine
        uses = one.store.stored(digest)
        assert uses is not None
        assert uses.uses == 2  # of another worker, seen by the owner


async def test_a_worker_no_longer_reads_what_its_owner_dropped(tmp_path: Path) -> None:
    async with opened(tmp_path, workers=2) as one, opened(tmp_path, worker=1, workers=2) as other:
        digest = await one.keep(blob_of(0, 2))
        at = one.store.locate(digest)
        assert at is not None
        other.store.adopt(digest, at)
        assert await other.get(digest) is not None
        one.store.drop([digest])
        assert other.store.read_now(at, 0, at.size) is None
        assert other.store.locate(digest) is None


async def test_what_another_worker_finds_damaged_its_owner_drops(tmp_path: Path) -> None:
    async with opened(tmp_path, workers=2) as one, opened(tmp_path, worker=1, workers=2) as other:
        digest = await one.keep(blob_of(0, 2))
        at = one.store.locate(digest)
        assert at is not None
        one.on_disk(digest).overwrite(b"damaged")
        other.store.adopt(digest, at)
        assert await other.get(digest) is None
        assert one.store.locate(digest) is None


async def test_a_worker_writes_only_what_it_owns(tmp_path: Path) -> None:
    async with opened(tmp_path, workers=2) as one:
        digest = await one.keep(blob_of(1, 2))
        assert digest not in one.store
        assert one.metric("not_cached_total", reason="other-worker") == 1


async def test_another_number_of_workers_takes_up_the_same_cache(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digests = [await it.keep(blob(seed)) for seed in range(20)]
    async with opened(tmp_path, workers=2) as one, opened(tmp_path, worker=1, workers=2) as other:
        found = [await one.get(digest) or await other.get(digest) for digest in digests]
        assert found == [blob(seed) for seed in range(20)]


@pytest.mark.parametrize("text", ["", "1.2.3", "16.1.1.1", "1.2.3.4.5", "a.1.1.1", "-1.1.1.1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="Playhead-Stored"):
        Located.parse(text)


def read_span(span: SegmentSpan) -> bytes:
    return os.pread(span.file, span.end - span.offset, span.offset)


@needs_page_cache
async def test_what_is_in_memory_can_be_sent_as_a_span(tmp_path: Path) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
        at = it.store.locate(digest)
        assert at is not None
        before = it.store.stored(digest)
        assert before is not None
        span = it.store.span_now(at, 100, 1 << 30)
        assert span is not None
        assert read_span(span) == blob(1)[100:]
        assert span.close()
        stored = it.store.stored(digest)
        assert stored is not None
        assert stored.uses == before.uses + 1


@needs_page_cache
async def test_a_span_tells_that_its_blob_was_dropped_and_keeps_its_file_open(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as it:
        digest = await it.keep(blob(1))
        await it.get(digest)
        at = it.store.locate(digest)
        assert at is not None
        span = it.store.span_now(at, 0, at.size)
        assert span is not None
        it.store.drop([digest])
        assert it.store.span_now(at, 0, at.size) is None

        async def is_gone() -> bool:
            return not blobs_on_disk(tmp_path)

        await eventually(is_gone)
        os.fstat(span.file)
        assert not span.close()
