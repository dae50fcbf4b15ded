"""Write the golden objects: two releases of a small title, by the product's own format code.

    python -m tests.conformance.make_golden tests/conformance/golden

What is committed there stays as it is: a later version must read it. Run this only when the format
itself gets a new version, into a new folder.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chunks import codec
from chunks.bundle import Bundle, BundleWriter, target_size
from chunks.chunk_id import Digest, chunk_id_of, digest_of
from chunks.chunker import cut, starts_segment
from manifests import locations
from manifests.documents import Group, Head, ObjectRef, PageRef, Release, Root, encode
from manifests.model import BundleRef, ChunkTable, Entry, EntryKind
from manifests.names import Channel, TitleId, Version
from manifests.page import encode_shard
from tests.conformance.inputs import CUT_INPUTS, named_input, text_like

TITLE = TitleId("golden")


@dataclass(frozen=True)
class Item:
    """An entry, and its bytes if it is a file."""

    entry: Entry
    content: bytes = b""


Groups = Sequence[tuple[str, Sequence[Item]]]


def file(path: str, content: bytes, kind: EntryKind = EntryKind.FILE) -> Item:
    return Item(Entry(path, kind, len(content)), content)


def releases() -> Iterator[tuple[Version, Channel, Groups]]:
    """Yield what is published: the second release edits, moves, adds and removes."""
    level = text_like(1, 1_500_000)
    edited = level[:700_000] + b"a line that was not there before\n" + level[700_000:]
    noise = random.Random(2).randbytes(6000)
    program = text_like(3, 90_000)
    crowd = "strings/" + "many-small-files-with-a-long-path-fill-the-first-page/" * 3
    launch = [
        *(file(f"{crowd}{number:03}", b"%d" % number) for number in range(100)),
        file("bin/game", program, EntryKind.EXECUTABLE),
        file("data/empty.bin", b""),
        file("data/level.txt", level),
        file("data/level.backup", level),
        Item(Entry("saves", EntryKind.DIRECTORY)),
        Item(Entry("data/current.txt", EntryKind.LINK, 0, "../data/level.txt")),
    ]
    extras = [file("extras/copy of level.txt", level), file("extras/lösung.txt", b"42\n")]
    sound = [file("sound/noise.raw", noise[:2500]), file("sound/more noise.raw", noise[2500:])]
    yield (
        Version("1.0"),
        Channel("live"),
        [("launch", launch), ("extras", extras), ("sound", sound)],
    )
    launch = [
        file("bin/game", program),
        file("data/empty.bin", b"no more\n"),
        file("data/level.txt", edited),
        Item(Entry("data/current.txt", EntryKind.LINK, 0, "level.txt")),
    ]
    extras = [
        file("extras/old level.txt", level),
        *(file(f"extras/{i}", b"%d" % i) for i in range(40)),
    ]
    folders = [Item(Entry("mods/here", EntryKind.DIRECTORY))]
    yield (
        Version("1.1"),
        Channel("beta"),
        [("launch", launch), ("extras", extras), ("folders", folders)],
    )


@dataclass
class Publisher:
    """Publishes into ``objects``, reusing the chunks of earlier releases."""

    objects: dict[str, bytes] = field(default_factory=dict)
    places: dict[Digest, tuple[BundleRef, int, int]] = field(default_factory=dict)
    """Bundle, offset and stored size of every chunk published."""

    def publish(self, counter: int, version: Version, channel: Channel, groups: Groups) -> None:
        chunks = [list(_chunks_of(items)) for _, items in groups]
        for index, of_group in enumerate(chunks):
            self._bundle(index, of_group)
        rows: dict[Digest, int] = {}
        sizes: list[int] = []
        occurrences: list[list[int]] = []
        for of_group in chunks:
            occurrences.append([])
            for chunk in of_group:
                digest = digest_of(chunk)
                if rows.setdefault(digest, len(rows)) == len(sizes):
                    sizes.append(len(chunk))
                occurrences[-1].append(rows[digest])
        table = self._table(list(rows), sizes)
        root = Root(
            title=TITLE,
            groups=tuple(
                self._group(index, name, [item.entry for item in items], table, occurrences[index])
                for index, (name, items) in enumerate(groups)
            ),
        )
        release = Release(
            title=TITLE,
            counter=counter,
            version=version,
            created_at=f"2026-05-0{counter}T10:00:00Z",
            root=self._put_manifest(encode(root)),
        )
        head = Head(title=TITLE, channel=channel, release=release)
        self.objects[locations.release_key(TITLE, counter)] = encode(release)
        self.objects[locations.head_key(TITLE, channel)] = encode(head)

    def _bundle(self, group_index: int, chunks: Sequence[bytes]) -> None:
        count, writer = 0, BundleWriter(target_size(group_index, 0))
        new = [chunk for chunk in dict.fromkeys(chunks) if digest_of(chunk) not in self.places]
        for chunk in new:
            writer.add(digest_of(chunk), len(chunk), codec.pack(chunk))
            if writer.is_full:
                self._put_bundle(writer.close())
                count, writer = count + 1, BundleWriter(target_size(group_index, count + 1))
        if not writer.is_empty:
            self._put_bundle(writer.close())

    def _put_bundle(self, bundle: Bundle) -> None:
        ref = BundleRef(bundle.bundle_id, len(bundle.data))
        self.objects[locations.bundle_key(TITLE, ref.bundle_id)] = bytes(bundle.data)
        self.objects[locations.slice_list_key(TITLE, ref.bundle_id)] = bundle.slices.encode()
        for chunk in bundle.chunks:
            self.places[chunk.digest] = (ref, chunk.offset, chunk.stored_size)

    def _table(self, digests: Sequence[Digest], sizes: Sequence[int]) -> ChunkTable:
        places = [self.places[digest] for digest in digests]
        bundles = list(dict.fromkeys(bundle for bundle, _, _ in places))
        return ChunkTable(
            ids=np.frombuffer(b"".join(map(chunk_id_of, digests)), dtype="V16"),
            sizes=np.array(sizes, np.uint32),
            stored_sizes=np.array([stored_size for _, _, stored_size in places], np.uint32),
            bundle_indexes=np.array([bundles.index(bundle) for bundle, _, _ in places], np.uint32),
            offsets=np.array([offset for _, offset, _ in places], np.uint32),
            bundles=tuple(bundles),
        )

    def _group(
        self,
        index: int,
        name: str,
        entries: Sequence[Entry],
        table: ChunkTable,
        occurrences: Sequence[int],
    ) -> Group:
        rows = np.array(occurrences, np.uint32)
        pages: list[PageRef] = []
        for page in encode_shard(entries, table, rows, is_first_group=index == 0):
            at = self._put_manifest(page.data)
            pages.append(
                PageRef(
                    digest=at.digest,
                    size=at.size,
                    entry_count=page.entry_count,
                    chunk_count=page.chunk_count,
                )
            )
        size = sum(entry.size for entry in entries)
        return Group(
            name=name,
            entry_count=len(entries),
            chunk_count=len(occurrences),
            size=size,
            pages=tuple(pages),
        )

    def _put_manifest(self, content: bytes) -> ObjectRef:
        digest = digest_of(content)
        self.objects[locations.manifest_key(TITLE, digest)] = content
        return ObjectRef(digest=digest.hex(), size=len(content))


def _chunks_of(items: Sequence[Item]) -> Iterator[bytes]:
    """Yield the chunks of a group's stream."""
    run = b""
    for item in items:
        if starts_segment(len(item.content)):
            yield from _cut(run)
            yield from _cut(item.content)
            run = b""
        else:
            run += item.content
    yield from _cut(run)


def _cut(segment: bytes) -> Iterator[bytes]:
    at = 0
    for size in cut(segment, is_last=True):
        yield segment[at : at + size]
        at += size


def described(groups: Groups) -> dict[str, str]:
    """Say what a tree must be after reading it: by path its kind, and its digest or target."""
    tree: dict[str, str] = {}
    for item in (item for _, items in groups for item in items):
        kind = item.entry.kind.name.lower()
        of = digest_of(item.content).hex() if item.entry.kind.is_file else item.entry.target
        tree[item.entry.path] = f"{kind} {of}".strip()
    return tree


def publish_all() -> tuple[dict[str, bytes], dict[str, dict[str, str]]]:
    """Return every object by its storage key, and every channel's tree."""
    publisher, trees = Publisher(), dict[str, dict[str, str]]()
    for counter, (version, channel, groups) in enumerate(releases(), start=1):
        publisher.publish(counter, version, channel, groups)
        trees[channel] = described(groups)
    return publisher.objects, trees


def write(folder: Path, objects: dict[str, bytes]) -> None:
    """Write every object at its storage key below ``folder``."""
    for key, content in objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    into = Path(sys.argv[1])
    golden_objects, golden_trees = publish_all()
    write(into, golden_objects)
    (into / "trees.json").write_text(json.dumps(golden_trees, indent=1, ensure_ascii=False) + "\n")
    sizes = {name: [len(c) for c in _cut(named_input(name))] for name in CUT_INPUTS}
    (into / "cuts.json").write_text(json.dumps(sizes, indent=None).replace("], ", "],\n ") + "\n")
