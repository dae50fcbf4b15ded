"""Publish folders and the deltas between them with the real packager, and serve them at will."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from chunks.chunk_id import CHUNK_ID_SIZE, ChunkId, digest_of
from chunks.delta_bundle import DeltaBundleWriter
from kit.clock import ManualClock
from kit.object_storage.testing import MemoryStorage
from kit.units import Seconds
from manifests import locations
from manifests.delta_index import DeltaIndex, StoredDelta, encode_delta_index, parse_delta_index
from manifests.documents import DeltaRef, Head, ObjectRef, Release, encode, parse_head
from manifests.model import BundleRef
from packager.deltas import DeltaReport, add_deltas
from packager.settings import DeltaSettings
from packager.title_store import TitleStore
from tests.faulty_edge import Asked, FaultyEdge
from tests.pushes import LIVE, TITLE, FreeLock, push_folder, stored_objects

QUICK = DeltaSettings(cpu_seconds_max=Seconds(0))
"""Deltas that take milliseconds, somewhat larger than they might be."""

BEST = DeltaSettings()

Forgery = Callable[[StoredDelta, bytes], bytes]
"""Makes another payload of a delta and its payload."""


@dataclass
class DeltaPublisher:
    """One title whose newest release is on ``live``; ``edge`` serves all of it."""

    folder: Path
    """For caches and journals."""
    edge: FaultyEdge = field(default_factory=lambda: FaultyEdge({}))
    settings: DeltaSettings = QUICK
    storage: MemoryStorage = field(default_factory=lambda: MemoryStorage(clock=ManualClock()))
    releases: list[Release] = field(default_factory=list)

    @property
    def store(self) -> TitleStore:
        return TitleStore(self.storage, TITLE)

    async def publish(self, tree: Path, *, with_deltas: bool = False) -> None:
        """Publish a release, with the deltas from the one before if these are asked for."""
        version = f"1.{len(self.releases) + 1}"
        before = self.releases[-1].root if self.releases else None
        cache = self.folder / "cache"
        await push_folder(self.storage, tree, version, cache_folder=cache)
        release = (await self.store.head(LIVE)).release
        if before is None or release.counter != self.releases[-1].counter:
            self.releases.append(release)
        if with_deltas and before is not None and before != release.root:
            await self.add_deltas(release.counter - 1, release.counter)
        await self.serve()

    async def add_deltas(self, base: int, target: int) -> DeltaReport:
        """Add the deltas from one release to another, both by counter."""
        (report,) = await self.add_sets(base, target, reach=1)
        return report

    async def add_sets(self, base: int, target: int, *, reach: int = 3) -> list[DeltaReport]:
        """Add the deltas from one release to another, and from those before it as they pay."""
        making = add_deltas(
            self.store,
            FreeLock,
            base,
            target,
            settings=msgspec.structs.replace(self.settings, reach=reach),
            cache_folder=self.folder / "cache",
            clock=ManualClock(),
            workers=2,
        )
        reports = [report async for report in making]
        await self.serve()
        return reports

    async def serve(self) -> None:
        """Let the edge have all there is now."""
        self.edge.objects = await stored_objects(self.storage)

    @property
    def head(self) -> Head:
        return parse_head(self.edge.objects[self._head_key], TITLE, LIVE)

    def name_deltas(self, *refs: DeltaRef) -> None:
        """Let the head name other delta sets."""
        self.put(self._head_key, encode(msgspec.structs.replace(self.head, deltas=refs)))

    def index(self, ref: DeltaRef) -> DeltaIndex:
        return parse_delta_index(self.edge.objects[index_key(ref.index)], ref.index)

    def delta_bundles(self) -> set[str]:
        """Return the paths of all bundles that the head's delta sets need."""
        indexes = [self.index(ref) for ref in self.head.deltas]
        bundles = [bundle for index in indexes for bundle in index.bundles]
        return {locations.bundle_key(TITLE, bundle.bundle_id) for bundle in bundles}

    def delta_requests(self) -> list[Asked]:
        """Return what the edge was asked for of deltas."""
        bundles = self.delta_bundles()
        return [asked for asked in self.edge.asked if asked.path in bundles]

    def forge(self, ref: DeltaRef, forgery: Forgery, *, keeps_checks: bool = False) -> DeltaRef:
        """Return a set of the same promises, sound in itself, whose deltas are ``forgery``'s.

        If it ``keeps_checks``, these alone tell that the deltas are others.
        """
        index, writer = self.index(ref), DeltaBundleWriter()
        deltas = [index.delta(number) for number in range(len(index))]
        packed = [writer.add(forgery(delta, self.payload(delta))) for delta in deltas]
        bundle = writer.close()
        self.put(locations.bundle_key(TITLE, bundle.bundle_id), bytes(bundle.data))
        self.put(locations.slice_list_key(TITLE, bundle.bundle_id), bundle.slices.encode())
        place = BundleRef(bundle.bundle_id, len(bundle.data))
        forged = [
            StoredDelta(
                targets=delta.targets,
                bases=delta.bases,
                method=delta.method,
                check=delta.check if keeps_checks else there.digest[:CHUNK_ID_SIZE],
                bundle=place,
                offset=there.offset,
                size=there.size,
            )
            for delta, there in zip(deltas, packed, strict=True)
        ]
        return self.put_index(ref, encode_delta_index(forged, sizes_of(index)))

    def put_index(self, ref: DeltaRef, content: bytes) -> DeltaRef:
        """Serve ``content`` as an index, and return how a head names it."""
        named = ObjectRef(digest=digest_of(content).hex(), size=len(content))
        self.put(index_key(named), content)
        return msgspec.structs.replace(ref, index=named)

    def payload(self, delta: StoredDelta) -> bytes:
        bundle = self.edge.objects[locations.bundle_key(TITLE, delta.bundle.bundle_id)]
        return bundle[delta.offset : delta.offset + delta.size]

    def put(self, path: str, content: bytes) -> None:
        """Let the edge serve ``content``; storage does not change."""
        self.edge.objects = {**self.edge.objects, path: content}

    def drop(self, path: str) -> None:
        """Let the edge know nothing of an object."""
        self.edge.objects = {key: each for key, each in self.edge.objects.items() if key != path}

    async def store_all(self) -> None:
        """Put into storage whatever the edge serves, forgeries too."""
        for key, content in self.edge.objects.items():
            await self.storage.put(key, content)

    @property
    def _head_key(self) -> str:
        return locations.head_key(TITLE, LIVE)


def index_key(ref: ObjectRef) -> str:
    return locations.manifest_key(TITLE, ref.raw_digest)


def sizes_of(index: DeltaIndex) -> dict[ChunkId, int]:
    """Return the plain size of every chunk an index names."""
    return dict(zip(index.all_ids, index.sizes.tolist(), strict=True))


def write_version(folder: Path, number: int, *, noise_size: int = 2_600_000) -> None:
    """Write version ``number`` of a game: in each, all chunks of its two large files differ.

    Noise looks compressed and text does not, so they are made by deltas of their own.
    """
    folder.mkdir(parents=True)
    random_ = random.Random(1)
    noise = bytearray(random_.randbytes(noise_size))
    words = [random_.randbytes(4).hex() for _ in range(500)]
    text = bytearray(" ".join(random_.choices(words, k=70_000)).encode())
    for version in range(2, number + 1):
        edits = random.Random(version)
        for content in (noise, text):
            for at in range(edits.randrange(5_000), len(content) - 16, 12_000):
                content[at : at + 8] = edits.randbytes(4).hex().encode()
    (folder / "world.pak").write_bytes(noise)
    (folder / "script.txt").write_bytes(text)
    (folder / "same.bin").write_bytes(random.Random(2).randbytes(100_000))
    (folder / f"notes-{number}.txt").write_text(f"What is new in {number}")
