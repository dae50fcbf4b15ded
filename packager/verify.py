"""Check all of a published title: whatever a console may be sent, and that it adds up to files.

Heads, releases, roots and pages first, and whether consoles will believe the heads. They say which
bundles there must be, and where in them each chunk lies. Then every bundle, once, however many
builds use it; then the deltas (``verify_deltas.py``). A finding is kept and the search goes on.
Memory holds one build's manifest, 28 bytes for each place of a chunk, and a few bundles.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chunks import codec
from chunks.bundle import TAIL_SIZE, StoredChunk, index_size, parse_index, parse_tail
from chunks.chunk_id import CHUNK_ID_SIZE, ChunkId, Digest, check_digest
from chunks.slices import BUNDLE_SIZE_MAX, SliceList
from kit.concurrency import for_each
from kit.errors import FormatError, IntegrityError, InvalidInput, NotFound
from manifests import locations
from manifests.assembly import assemble
from manifests.documents import ObjectRef, PageRef, Release, Root
from manifests.model import BundleRef
from manifests.names import channel as channel_name
from manifests.page import Page, parse_page
from packager.findings import (
    BundleUse,
    Finding,
    Findings,
    Problem,
    Rule,
    bad_slices,
    list_size,
    one,
    size_findings,
)
from packager.title_store import TitleStore
from packager.verify_deltas import ChunkPlace, DeltaVerification
from packager.vouching import Witness

BUNDLES_AT_ONCE = 4
"""Two are read while two are checked, on two cores; together at most 128 MiB."""

PAGES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Progress:
    """Bundles, and their bytes, checked so far and in all."""

    bundle_count: int
    bundle_count_done: int
    size: int
    size_done: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was looked at and what is wrong with it."""

    release_count: int
    build_count: int
    bundle_count: int
    bundle_size: int
    """Bytes of all bundles."""
    delta_count: int
    applied_delta_count: int
    """Of them, so many made what they should; the rest lack bases, or were not tried."""
    problems: tuple[Problem, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.problems


_ROW = np.dtype([("offset", "<u4"), ("size", "<u4"), ("stored", "<u4"), ("id", "V16")])
_PACKED_ROW = np.dtype(f"V{_ROW.itemsize}")


@dataclass(slots=True)
class _Bundle(BundleUse):
    """What the pages say of one bundle."""

    rows: NDArray[np.void] = field(default_factory=lambda: np.empty(0, _PACKED_ROW))
    """Distinct chunks and their places."""

    def add(self, size: int, rows: NDArray[np.void], releases: Sequence[int]) -> None:
        self.sizes.add(size)
        self.releases.update(releases)
        self.rows = np.unique(np.concatenate([self.rows, rows]))


async def verify(
    store: TitleStore,
    *,
    witness: Witness,
    is_quick: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Verdict:
    """Check a title; ``is_quick`` looks at bundles and slice lists only for existence and size.

    A sweep that runs meanwhile may delete what is being checked; to exclude that, hold the lock.

    Raises:
        NotFound: Nothing was published under this title.
        Unavailable: The storage did not answer: nothing can be said.
    """
    return await _Verification(store, witness, on_progress).run(is_quick=is_quick)


class _Verification:
    def __init__(
        self, store: TitleStore, witness: Witness, on_progress: Callable[[Progress], None]
    ) -> None:
        self._store = store
        self._witness = witness
        self._on_progress = on_progress
        self._findings = Findings()
        self._deltas = DeltaVerification(store, self._findings)
        self._bundles: dict[Digest, _Bundle] = {}

    async def run(self, *, is_quick: bool) -> Verdict:
        releases = await self._releases()
        builds: dict[ObjectRef, list[int]] = {}
        for counter in sorted(releases):
            builds.setdefault(releases[counter].root, []).append(counter)
        for root, counters in builds.items():
            await self._check_build(root, counters)
        await self._deltas.gather()
        await (self._check_sizes() if is_quick else self._check_contents())
        return Verdict(
            release_count=len(releases),
            build_count=len(builds),
            bundle_count=len(self._bundles) + len(self._deltas.bundles),
            bundle_size=self._total_size(),
            delta_count=self._deltas.delta_count,
            applied_delta_count=self._deltas.applied_count,
            problems=tuple(self._findings.problems),
        )

    async def _releases(self) -> dict[int, Release]:
        """Check heads and releases; return every release that either holds, by counter."""
        title, found_any = self._store.title, False
        releases: dict[int, Release] = {}
        prefix = locations.releases_prefix(title)
        async for stat in self._store.storage.list(prefix):
            found_any = True
            name = stat.key.removeprefix(prefix)
            if not re.fullmatch(r"[0-9]{10}", name):
                self._findings.note(
                    stat.key, (), [(Rule.FORMAT, "is not named by a counter of 10 digits")]
                )
                continue
            release = await self._findings.read(
                stat.key, [int(name)], self._store.release(int(name))
            )
            if release is not None:
                releases[release.counter] = release
        prefix = locations.heads_prefix(title)
        async for stat in self._store.storage.list(prefix):
            found_any = True
            await self._check_head(stat.key, stat.key.removeprefix(prefix), releases)
        if not found_any:
            raise NotFound(f"title {title}: nothing was published under this name")
        return releases

    async def _check_head(self, key: str, name: str, releases: dict[int, Release]) -> None:
        try:
            head = await self._findings.read(key, (), self._store.head(channel_name(name)))
        except InvalidInput as error:
            self._findings.note(key, (), [(Rule.FORMAT, str(error))])
            return
        if head is None:
            return
        self._deltas.add_head(head)
        counter = head.release.counter
        stored = releases.setdefault(counter, head.release)
        if stored is head.release:
            missing = locations.release_key(self._store.title, counter)
            if not any(problem.key == missing for problem in self._findings.problems):
                self._findings.note(missing, [counter], [(Rule.MISSING, f"{key} points to it")])
        elif stored != head.release:
            self._findings.note(key, [counter], [(Rule.RELEASE, f"differs from release {counter}")])
        doubt = await self._witness.doubt(head.release, head.channel)
        if doubt is not None:
            self._findings.note(key, [counter], [(Rule.TRUST, doubt)])

    async def _check_build(self, ref: ObjectRef, counters: Sequence[int]) -> None:
        key = locations.manifest_key(self._store.title, ref.raw_digest)
        root = await self._findings.read(key, counters, self._store.root(ref))
        if root is None:
            return
        found: list[list[Page]] = []
        for group in root.groups:
            check = functools.partial(self._check_page, counters=counters)
            pages = await for_each(group.pages, check, at_once=PAGES_AT_ONCE)
            found.append([page for page in pages if page is not None])
        if all(len(pages) == len(of.pages) for pages, of in zip(found, root.groups, strict=True)):
            findings = await asyncio.to_thread(_assembled, ref.raw_digest, root, found)
            self._findings.note(key, counters, findings)

    async def _check_page(self, ref: PageRef, counters: Sequence[int]) -> Page | None:
        key = locations.manifest_key(self._store.title, ref.raw_digest)

        async def read() -> tuple[Page, list[tuple[BundleRef, NDArray[np.void]]]]:
            data = await self._store.storage.get(key, size_max=ref.size)
            return await asyncio.to_thread(_parsed, data, ref)

        parsed = await self._findings.read(key, counters, read())
        if parsed is None:
            return None
        page, parts = parsed
        for bundle, rows in parts:
            self._bundles.setdefault(bundle.bundle_id, _Bundle()).add(bundle.size, rows, counters)
        return page

    async def _check_sizes(self) -> None:
        title, storage = self._store.title, self._store.storage
        sizes: dict[str, int] = {}
        for prefix in (locations.bundles_prefix(title), locations.slice_lists_prefix(title)):
            sizes |= {stat.key: stat.size async for stat in storage.list(prefix)}
        every: dict[Digest, BundleUse] = {**self._bundles, **self._deltas.bundles}
        for bundle_id, bundle in every.items():
            wanted = max(bundle.sizes)
            expected = (
                (locations.bundle_key(title, bundle_id), wanted),
                (locations.slice_list_key(title, bundle_id), list_size(wanted)),
            )
            for key, size in expected:
                self._findings.note(
                    key, sorted(bundle.releases), size_findings(sizes.get(key), size)
                )

    async def _check_contents(self) -> None:
        """Read and check every bundle, a few at a time."""
        total, count = self._total_size(), len(self._bundles) + len(self._deltas.bundles)
        done_count = done_size = 0

        def done(size: int) -> None:
            nonlocal done_count, done_size
            done_count, done_size = done_count + 1, done_size + size
            self._on_progress(Progress(count, done_count, total, done_size))

        async def check(named: tuple[Digest, _Bundle]) -> None:
            await self._check_bundle(*named)
            done(max(named[1].sizes))

        await for_each(self._bundles.items(), check, at_once=BUNDLES_AT_ONCE)
        places = await asyncio.to_thread(self._places, self._deltas.bases())
        await self._deltas.check_contents(places, done)

    def _total_size(self) -> int:
        every: dict[Digest, BundleUse] = {**self._bundles, **self._deltas.bundles}
        return sum(max(bundle.sizes) for bundle in every.values())

    def _places(self, ids: set[ChunkId]) -> dict[ChunkId, ChunkPlace]:
        """Return where each of ``ids`` is stored, as far as any build has it."""
        found: dict[ChunkId, ChunkPlace] = {}
        for bundle_id, bundle in self._bundles.items() if ids else ():
            for offset, size, stored_size, raw in bundle.rows.view(_ROW).tolist():
                if (chunk_id := ChunkId(bytes(raw))) in ids:
                    found[chunk_id] = ChunkPlace(bundle_id, offset, size, stored_size)
        return found

    async def _check_bundle(self, bundle_id: Digest, bundle: _Bundle) -> None:
        title, counters = self._store.title, sorted(bundle.releases)
        list_key = locations.slice_list_key(title, bundle_id)
        slices = await self._findings.read(list_key, counters, self._store.slice_list(bundle_id))
        key = locations.bundle_key(title, bundle_id)
        data = await self._findings.read(
            key, counters, self._store.storage.get(key, size_max=BUNDLE_SIZE_MAX)
        )
        if data is not None:
            found = await asyncio.to_thread(_examined, bundle_id.hex(), data, slices, bundle)
            self._findings.note(key, counters, found)


# What follows is pure, and runs in threads.


def _assembled(build_id: Digest, root: Root, pages: Sequence[Sequence[Page]]) -> list[Finding]:
    try:
        assemble(build_id, root, pages)
    except InvalidInput as error:
        return [(Rule.FORMAT, str(error))]
    return []


def _parsed(data: bytes, ref: PageRef) -> tuple[Page, list[tuple[BundleRef, NDArray[np.void]]]]:
    """Read a page; return it, and its rows by bundle."""
    page = parse_page(data, ref)
    table = page.chunks
    rows = np.empty(len(table), _ROW)
    rows["offset"], rows["size"] = table.offsets, table.sizes
    rows["stored"], rows["id"] = table.stored_sizes, table.ids
    packed = rows.view(_PACKED_ROW)
    parts = [
        (bundle, packed[table.bundle_indexes == index])
        for index, bundle in enumerate(table.bundles)
    ]
    return page, parts


def _examined(name: str, data: bytes, slices: SliceList | None, bundle: _Bundle) -> list[Finding]:
    """Return what is wrong with a bundle of bytes ``data``."""
    found = [finding for size in bundle.sizes for finding in size_findings(len(data), size)]
    if slices is not None:
        if slices.bundle_size == len(data):
            found += one(Rule.SLICE, "slices", bad_slices(data, slices), len(slices.digests))
        elif slices.bundle_size not in bundle.sizes:
            found += size_findings(len(data), slices.bundle_size)
    try:
        index = _index_of(name, data)
    except FormatError as error:
        return [*found, (Rule.FORMAT, str(error))]
    found += one(Rule.PLACE, "places of chunks", _misplaced(bundle, index), len(bundle.rows))
    found += one(Rule.CHUNK, "chunks", _bad_chunks(data, index), len(index))
    return found


def _index_of(name: str, data: bytes) -> tuple[StoredChunk, ...]:
    count = parse_tail(name, data[-TAIL_SIZE:], len(data))
    return parse_index(name, data[-index_size(count) :], len(data))


def _misplaced(bundle: _Bundle, index: Sequence[StoredChunk]) -> Iterator[str]:
    there = {(c.offset, c.size, c.stored_size, bytes(c.digest[:CHUNK_ID_SIZE])) for c in index}
    for offset, size, stored_size, id_ in bundle.rows.view(_ROW).tolist():
        if (offset, size, stored_size, bytes(id_)) not in there:
            yield f"chunk {bytes(id_).hex()} at {offset}, {size} bytes stored in {stored_size}"


def _bad_chunks(data: bytes, index: Sequence[StoredChunk]) -> Iterator[str]:
    view = memoryview(data)
    for chunk in index:
        name = f"chunk {chunk.digest.hex()} at {chunk.offset}"
        try:
            stored = view[chunk.offset : chunk.offset + chunk.stored_size]
            check_digest(name, codec.unpack(stored, chunk.size), chunk.digest)
        except (FormatError, IntegrityError):
            yield name
