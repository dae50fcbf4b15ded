"""Split install groups into segments, the stretches that are cut on their own."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import xxhash

from chunks.chunker import starts_segment
from packager.layout import PlannedGroup
from packager.scan import ScannedFile

_STAMP = struct.Struct("<QQqqI")


@dataclass(frozen=True, slots=True)
class Segment:
    """A large file, or a run of smaller ones; no file in it is empty."""

    group_index: int
    files: tuple[ScannedFile, ...]
    key: bytes
    """16 bytes that change when any of the files was written, moved or replaced."""

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.entry.size for file in self.files)

    def is_older_than(self, moment_ns: int) -> bool:
        """Tell whether every file was last touched before ``moment_ns`` after the Unix epoch."""
        return all(max(file.mtime_ns, file.ctime_ns) < moment_ns for file in self.files)


def segments_of(groups: Sequence[PlannedGroup]) -> Iterator[Segment]:
    """Yield the segments of every group, in the order of the stream."""
    for index, group in enumerate(groups):
        run: list[ScannedFile] = []
        for file in group.files:
            if not starts_segment(file.entry.size):
                if file.entry.size:
                    run.append(file)
                continue
            if run:
                yield _segment(index, run)
                run = []
            yield _segment(index, [file])
        if run:
            yield _segment(index, run)


def _segment(group_index: int, files: Sequence[ScannedFile]) -> Segment:
    state = xxhash.xxh3_128()
    for file in files:
        path, size = file.entry.path.encode(), file.entry.size
        state.update(_STAMP.pack(size, file.inode, file.mtime_ns, file.ctime_ns, len(path)) + path)
    return Segment(group_index, tuple(files), state.digest())
