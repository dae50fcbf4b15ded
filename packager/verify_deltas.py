"""Check the delta sets of a published title: each index, each bundle, and what each delta makes.

A delta is applied to base chunks read from storage, as a console applies it to those it has. Bases
that no build has any more, as after a sweep, leave a delta untried; its digest is checked all the
same. Memory holds the indexes, two bundles, and for each a base and what is made of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from chunks import codec
from chunks.chunk_id import CHUNK_ID_SIZE, ChunkId, Digest, chunk_id_of, digest_of
from chunks.delta import apply_delta
from chunks.delta_bundle import PackedDelta, parse_delta_bundle
from chunks.plan import RangeRequest, Wanted, range_requests
from chunks.slices import BUNDLE_SIZE_MAX, SliceList
from kit.buffers import Buffer
from kit.concurrency import for_each
from kit.errors import FormatError, InvalidInput, NotFound
from manifests import locations
from manifests.delta_index import DeltaIndex
from manifests.documents import DOCUMENT_SIZE_MAX, DeltaSet, Head, ObjectRef, parse_delta_set
from packager.findings import BundleUse, Finding, Findings, Rule, bad_slices, one, size_findings
from packager.manifest_deltas import check_manifest_delta
from packager.title_store import DELTA_SET_NAME, TitleStore

BUNDLES_AT_ONCE = 2
"""Each of up to 24 MiB, and one delta of it under way: together at most 160 MiB."""

RANGES_AT_ONCE = 4


class ChunkPlace(NamedTuple):
    """Where a chunk is stored: bundle, offset, plain and stored size in bytes."""

    bundle_id: Digest
    offset: int
    size: int
    stored_size: int


@dataclass(slots=True)
class _DeltaBundle(BundleUse):
    """What the indexes say of one bundle."""

    deltas: list[tuple[DeltaIndex, int]] = field(default_factory=list)
    """By index and number in it."""


class DeltaVerification:
    """One check of a title's delta sets. Belongs to one event loop."""

    def __init__(self, store: TitleStore, findings: Findings) -> None:
        self.bundles: dict[Digest, _DeltaBundle] = {}
        self.delta_count = 0
        self.applied_count = 0
        self._store = store
        self._findings = findings
        self._refs: dict[ObjectRef, set[int]] = {}

    def add_head(self, head: Head) -> None:
        """Take in the delta sets that a channel's head names."""
        for ref in head.deltas:
            self._refs.setdefault(ref.index, set()).add(head.release.counter)

    async def gather(self) -> None:
        """Read what is known of delta sets, and every index that is named."""
        prefix = locations.delta_sets_prefix(self._store.title)
        async for stat in self._store.storage.list(prefix):
            await self._gather_set(stat.key, stat.key.removeprefix(prefix))
        for ref, releases in self._refs.items():
            key = locations.manifest_key(self._store.title, ref.raw_digest)
            index = await self._findings.read(key, sorted(releases), self._store.delta_index(ref))
            if index is not None:
                self._gather_index(index, releases)

    def bases(self) -> set[ChunkId]:
        """Return every chunk that a delta needs."""
        return {
            index.all_ids[row]
            for bundle in self.bundles.values()
            for index, number in bundle.deltas
            for row in index.base_rows(number).tolist()
        }

    async def check_contents(
        self, places: Mapping[ChunkId, ChunkPlace], on_done: Callable[[int], None]
    ) -> None:
        """Read every bundle of deltas and apply them; ``on_done`` hears each one's size."""

        async def check(named: tuple[Digest, _DeltaBundle]) -> None:
            bundle_id, bundle = named
            data = await self._check_bundle(bundle_id, bundle)
            if data is not None:
                await self._apply_all(bundle_id, bundle, memoryview(data), places)
            on_done(max(bundle.sizes))

        await for_each(self.bundles.items(), check, at_once=BUNDLES_AT_ONCE)

    async def _gather_set(self, key: str, name: str) -> None:
        if not DELTA_SET_NAME.fullmatch(name):
            self._findings.note(key, (), [(Rule.FORMAT, "is not named by two counters")])
            return
        target, base = int(name[:10]), int(name[11:])

        async def read() -> DeltaSet:
            data = await self._store.storage.get(key, size_max=DOCUMENT_SIZE_MAX)
            return parse_delta_set(data, self._store.title, base, target)

        found = await self._findings.read(key, [target], read())
        if found is not None:
            self._refs.setdefault(found.index, set()).add(target)
            await self._gather_manifest(found)

    async def _gather_manifest(self, found: DeltaSet) -> None:
        if found.manifest is None:
            return
        key = locations.manifest_key(self._store.title, found.manifest.raw_digest)
        await self._findings.read(key, [found.target], check_manifest_delta(self._store, found))

    def _gather_index(self, index: DeltaIndex, releases: set[int]) -> None:
        self.delta_count += len(index)
        for number, row in enumerate(index.bundle_indexes.tolist()):
            ref = index.bundles[row]
            bundle = self.bundles.setdefault(ref.bundle_id, _DeltaBundle())
            bundle.sizes.add(ref.size)
            bundle.releases |= releases
            bundle.deltas.append((index, number))

    async def _check_bundle(self, bundle_id: Digest, bundle: _DeltaBundle) -> bytes | None:
        title, releases = self._store.title, sorted(bundle.releases)
        list_key = locations.slice_list_key(title, bundle_id)
        slices = await self._findings.read(list_key, releases, self._store.slice_list(bundle_id))
        key = locations.bundle_key(title, bundle_id)
        reading = self._store.storage.get(key, size_max=BUNDLE_SIZE_MAX)
        data = await self._findings.read(key, releases, reading)
        if data is not None:
            found = await asyncio.to_thread(_examined, bundle_id.hex(), data, slices, bundle)
            self._findings.note(key, releases, found)
        return data

    async def _apply_all(
        self,
        bundle_id: Digest,
        bundle: _DeltaBundle,
        data: memoryview,
        places: Mapping[ChunkId, ChunkPlace],
    ) -> None:
        bad: list[str] = []
        for index, number in bundle.deltas:
            start = int(index.offsets[number])
            payload = data[start : start + int(index.delta_sizes[number])]
            base = await self._base(index.delta(number).bases, places)
            if base is None or digest_of(payload)[:CHUNK_ID_SIZE] != index.checks[number].tobytes():
                continue
            wrong = await asyncio.to_thread(_misapplied, index, number, payload, base)
            if wrong is None:
                self.applied_count += 1
            else:
                bad.append(f"at {start}: {wrong}")
        key = locations.bundle_key(self._store.title, bundle_id)
        found = one(Rule.DELTA, "deltas", iter(bad), len(bundle.deltas))
        self._findings.note(key, sorted(bundle.releases), found)

    async def _base(
        self, ids: Sequence[ChunkId], places: Mapping[ChunkId, ChunkPlace]
    ) -> bytes | None:
        """Return the base chunks end to end; None if one is not there or not sound."""
        if not all(chunk_id in places for chunk_id in ids):
            return None
        of = [places[chunk_id] for chunk_id in ids]
        bundle_ids = list(dict.fromkeys(place.bundle_id for place in of))
        wanted = [
            Wanted(row, bundle_ids.index(at.bundle_id), at.offset, at.offset + at.stored_size)
            for row, at in enumerate(of)
        ]

        async def fetch(request: RangeRequest) -> dict[int, bytes]:
            key = locations.bundle_key(self._store.title, bundle_ids[request.bundle_index])
            stored = await self._store.storage.read(key, request.start, request.size)
            return await asyncio.to_thread(_opened, request, memoryview(stored), of)

        try:
            found = await for_each(range_requests(wanted), fetch, at_once=RANGES_AT_ONCE)
        except (NotFound, InvalidInput):  # the check of that bundle says so
            return None
        plain = {row: chunk for part in found for row, chunk in part.items()}
        chunks = [plain[row] for row in range(len(of))]
        is_sound = all(map(_is, chunks, ids))
        return b"".join(chunks) if is_sound else None


# What follows is pure, and runs in threads.


def _is(chunk: Buffer, chunk_id: ChunkId) -> bool:
    return chunk_id_of(digest_of(chunk)) == chunk_id


def _opened(
    request: RangeRequest, stored: memoryview, places: Sequence[ChunkPlace]
) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for chunk in request.chunks:
        packed = stored[chunk.start - request.start : chunk.end - request.start]
        found[chunk.row] = bytes(codec.unpack(packed, places[chunk.row].size))
    return found


def _misapplied(index: DeltaIndex, number: int, payload: memoryview, base: bytes) -> str | None:
    """Return why a delta does not make its targets; None if it does."""
    delta = index.delta(number)
    sizes = index.sizes[index.target_rows(number)].tolist()
    try:
        made = apply_delta(delta.method, payload, base, sum(sizes))
    except FormatError as error:
        return str(error)
    at = 0
    for chunk_id, size in zip(delta.targets, sizes, strict=True):
        if not _is(made[at : at + size], chunk_id):
            return f"makes something else than chunk {chunk_id.hex()}"
        at += size
    return None


def _examined(
    name: str, data: bytes, slices: SliceList | None, bundle: _DeltaBundle
) -> list[Finding]:
    """Return what is wrong with a bundle of deltas of bytes ``data``."""
    found = [finding for size in bundle.sizes for finding in size_findings(len(data), size)]
    if slices is not None and slices.bundle_size == len(data):
        found += one(Rule.SLICE, "slices", bad_slices(data, slices), len(slices.digests))
    try:
        packed = parse_delta_bundle(name, data)
    except FormatError as error:
        return [*found, (Rule.FORMAT, str(error))]
    there = {(each.offset, each.size): each for each in packed}
    misplaced = [where for delta in bundle.deltas if (where := _misplaced(*delta, there))]
    found += one(Rule.PLACE, "places of deltas", iter(misplaced), len(bundle.deltas))
    view = memoryview(data)
    damaged = (
        f"at {each.offset}"
        for each in packed
        if digest_of(view[each.offset : each.offset + each.size]) != each.digest
    )
    found += one(Rule.DELTA, "payloads", damaged, len(packed))
    return found


def _misplaced(
    index: DeltaIndex, number: int, there: Mapping[tuple[int, int], PackedDelta]
) -> str | None:
    offset, size = int(index.offsets[number]), int(index.delta_sizes[number])
    packed = there.get((offset, size))
    if packed is None or packed.digest[:CHUNK_ID_SIZE] != index.checks[number].tobytes():
        return f"a delta of {size} bytes at {offset}"
    return None
