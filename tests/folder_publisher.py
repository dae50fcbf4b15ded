"""Publish folders into a dict with nothing but the format: consoles are tested without a packager.

It cuts, packs and bundles in the plainest way there is, and stores a chunk once over all builds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chunks.bundle import BundleWriter, target_size
from chunks.chunk_id import CHUNK_ID_SIZE, ChunkId, chunk_id_of, digest_of
from chunks.chunker import cut, starts_segment
from chunks.codec import pack
from manifests import locations
from manifests.documents import Group, Head, ObjectRef, PageRef, Release, Root, encode
from manifests.model import BundleRef, ChunkTable, Entry, EntryKind
from manifests.names import Channel, TitleId, Version
from manifests.page import encode_shard

TITLE = TitleId("a-title")
LIVE = Channel("live")

GroupOf = Callable[[str], str]


def launch_only(_path: str) -> str:
    return "launch"


@dataclass(frozen=True)
class _Place:
    bundle: BundleRef
    offset: int
    size: int
    stored_size: int


@dataclass
class FolderPublisher:
    """Objects by URL path without the leading slash, as an origin would serve them."""

    objects: dict[str, bytes] = field(default_factory=dict)
    counter: int = 0
    title: TitleId = TITLE
    _places: dict[ChunkId, _Place] = field(default_factory=dict)

    def publish(self, folder: Path, *, group_of: GroupOf = launch_only) -> Release:
        """Publish ``folder`` on ``live``; groups are in order of their names, ``launch`` first."""
        groups: dict[str, list[Entry]] = {"launch": []}
        for entry in sorted(entries_in(folder), key=lambda entry: entry.path):
            groups.setdefault(group_of(entry.path), []).append(entry)
        names = sorted((name for name in groups if groups[name]), key=lambda n: (n != "launch", n))
        root = Root(
            title=self.title,
            groups=tuple(self._group(i, n, groups[n], folder) for i, n in enumerate(names)),
        )
        return self.release(self._put_manifest(encode(root)))

    def release(self, root: ObjectRef, counter: int | None = None) -> Release:
        """Point ``live`` to a build, as a new release or as number ``counter``."""
        self.counter = counter or self.counter + 1
        release = Release(
            title=self.title,
            counter=self.counter,
            version=Version(f"1.{self.counter}"),
            created_at="2026-05-04T10:00:00Z",
            root=root,
        )
        head = Head(title=self.title, channel=LIVE, release=release)
        self.objects[locations.head_key(self.title, LIVE)] = encode(head)
        return release

    def _group(self, index: int, name: str, entries: list[Entry], folder: Path) -> Group:
        occurring = self._store_chunks(index, entries, folder)
        distinct = list(dict.fromkeys(occurring))
        row_of = {chunk_id: row for row, chunk_id in enumerate(distinct)}
        rows = np.array([row_of[chunk_id] for chunk_id in occurring], np.uint32)
        table = _table(distinct, [self._places[chunk_id] for chunk_id in distinct])
        pages = []
        for page in encode_shard(entries, table, rows, is_first_group=index == 0):
            ref = self._put_manifest(page.data)
            pages.append(
                PageRef(
                    digest=ref.digest,
                    size=ref.size,
                    entry_count=page.entry_count,
                    chunk_count=page.chunk_count,
                )
            )
        return Group(
            name=name,
            entry_count=len(entries),
            chunk_count=len(occurring),
            size=sum(entry.size for entry in entries),
            pages=tuple(pages),
        )

    def _store_chunks(self, group: int, entries: list[Entry], folder: Path) -> list[ChunkId]:
        occurring: list[ChunkId] = []
        bundle_count, writer, waiting = 0, BundleWriter(target_size(group, 0)), set[ChunkId]()
        for chunk in _chunks(entries, folder):
            digest = digest_of(chunk)
            chunk_id = chunk_id_of(digest)
            occurring.append(chunk_id)
            if chunk_id in self._places or chunk_id in waiting:
                continue
            waiting.add(chunk_id)
            writer.add(digest, len(chunk), pack(chunk))
            if writer.is_full:
                self._put_bundle(writer)
                bundle_count, waiting = bundle_count + 1, set()
                writer = BundleWriter(target_size(group, bundle_count))
        if not writer.is_empty:
            self._put_bundle(writer)
        return occurring

    def _put_bundle(self, writer: BundleWriter) -> None:
        bundle = writer.close()
        self.objects[locations.bundle_key(self.title, bundle.bundle_id)] = bytes(bundle.data)
        ref = BundleRef(bundle.bundle_id, len(bundle.data))
        for chunk in bundle.chunks:
            place = _Place(ref, chunk.offset, chunk.size, chunk.stored_size)
            self._places[chunk_id_of(chunk.digest)] = place

    def _put_manifest(self, content: bytes) -> ObjectRef:
        digest = digest_of(content)
        self.objects[locations.manifest_key(self.title, digest)] = content
        return ObjectRef(digest=digest.hex(), size=len(content))


def entries_in(folder: Path) -> Iterator[Entry]:
    """Yield files, links and empty folders below ``folder``."""
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                yield Entry(relative, EntryKind.LINK, 0, str(path.readlink()))
            elif path.is_dir():
                if not any(path.iterdir()):
                    yield Entry(relative, EntryKind.DIRECTORY)
            else:
                status = path.stat()
                is_executable = bool(status.st_mode & 0o100)
                kind = EntryKind.EXECUTABLE if is_executable else EntryKind.FILE
                yield Entry(relative, kind, status.st_size)


def _chunks(entries: list[Entry], folder: Path) -> Iterator[bytes]:
    for segment in _segments(entries):
        content = memoryview(b"".join((folder / entry.path).read_bytes() for entry in segment))
        at = 0
        for size in cut(content, is_last=True):
            yield bytes(content[at : at + size])
            at += size


def _segments(entries: list[Entry]) -> Iterator[list[Entry]]:
    small: list[Entry] = []
    for entry in entries:
        if not entry.size:
            continue
        if starts_segment(entry.size):
            if small:
                yield small
            small = []
            yield [entry]
        else:
            small.append(entry)
    if small:
        yield small


def _table(ids: list[ChunkId], places: list[_Place]) -> ChunkTable:
    bundles = list(dict.fromkeys(place.bundle for place in places))
    index_of = {bundle: index for index, bundle in enumerate(bundles)}
    return ChunkTable(
        ids=np.frombuffer(b"".join(ids), dtype=f"V{CHUNK_ID_SIZE}"),
        sizes=np.array([place.size for place in places], np.uint32),
        stored_sizes=np.array([place.stored_size for place in places], np.uint32),
        bundle_indexes=np.array([index_of[place.bundle] for place in places], np.uint32),
        offsets=np.array([place.offset for place in places], np.uint32),
        bundles=tuple(bundles),
    )
