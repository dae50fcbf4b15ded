"""What of an interrupted operation still stands: files in staging, and rows written to them."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

import numpy as np

from console.layout import Layout, Mask, Place, covered, touching
from console.safe_paths import Folder
from console.seeds import Rows, Seed, SeedFiles, SeedReader, read_exactly
from console.staging import StagedFiles
from kit.buffers import Buffer
from manifests.model import U32, Build


def staged_files(folder: Folder, build: Build) -> list[Mask]:
    """Return, by group, which entries have a file of their own in a staging folder.

    What is not a plain file with one name is removed: it is not ours to write through.
    """
    found = [np.zeros(len(shard.entries), np.bool_) for shard in build.shards]
    for name in folder.names():
        group, _, index = name.partition(".")
        status = folder.status(name)
        if status is None or not (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
            folder.remove_file(name)
        elif _is_entry(build, group, index):
            found[int(group)][int(index)] = True
    return found


def rows_that_hold(
    build: Build, staged: Sequence[Mask], present: Sequence[Mask], checkpointed: U32
) -> Mask:
    """Return which checkpointed rows can be trusted: those whose staged files are all there."""
    done = np.zeros(len(build.chunks), np.bool_)
    done[checkpointed[checkpointed < len(done)]] = True
    for shard, wanted, found in zip(build.shards, staged, present, strict=True):
        done[shard.occurrences[touching(shard, wanted & ~found)]] = False
    return done


def staged_seed(build: Build, folder: Folder, present: Sequence[Mask], done: Mask) -> Seed:
    """Return a staging folder as a seed of those of its rows that are ``done``."""
    usable = [
        covered(shard, mask) & done[shard.occurrences]
        for shard, mask in zip(build.shards, present, strict=True)
    ]
    return Seed(build, StagedFiles(folder), usable)


def rows_in_place(seed: Seed, layout: Layout, rows: Rows) -> list[int]:
    """Return which of ``rows`` are written, and right, in every place that ``layout`` has.

    ``seed`` is the staging folder of the build being installed. For what was written after the
    last checkpoint; rows that lie in a hole of a file are skipped without reading it.
    """
    groups, occurrences = seed.first_usable()
    reader, files, good = SeedReader(seed), seed.place.files(), []
    try:
        for row in rows[groups[rows] >= 0].tolist():
            at = int(groups[row]), int(occurrences[row])
            if reader.is_hole(*at):
                continue
            chunk = reader.read(*at)
            if chunk is not None and _is_everywhere(files, list(layout.places(row)), chunk):
                good.append(row)
    finally:
        reader.close()
        files.close()
    return good


def _is_entry(build: Build, group: str, index: str) -> bool:
    if not (group.isdecimal() and index.isdecimal() and int(group) < len(build.shards)):
        return False
    return int(index) < len(build.shards[int(group)].entries)


def _is_everywhere(files: SeedFiles, places: Sequence[Place], chunk: Buffer) -> bool:
    if len(places) == 1:
        return True  # the one that was just read
    return all(_is_at(files, place, memoryview(chunk)) for place in places)


def _is_at(files: SeedFiles, place: Place, chunk: memoryview) -> bool:
    piece = place.piece
    fd = files.open_entry(place.group, piece.entry_index)
    if fd is None:
        return False
    found = memoryview(bytearray(piece.length))
    try:
        is_whole = read_exactly(fd, found, piece.file_offset)
    finally:
        os.close(fd)
    return is_whole and found == chunk[piece.chunk_offset : piece.chunk_offset + piece.length]
