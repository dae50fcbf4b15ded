"""The record of what is installed: release, groups, the folders we made, and each file's stamp."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from console.durable import read_whole, write_whole
from console.journal import frame, unframe
from console.safe_paths import Folder
from kit.errors import IntegrityError
from manifests.documents import Release
from manifests.model import Build, Entry
from manifests.names import Channel

RECORD = "installed"
RECORD_SIZE_MAX = 256 << 20
"""A million entries of 16 bytes, and as many folders of the longest names a build may have, are
far below; a larger file is not ours."""

Stamps = NDArray[np.int64]
"""One row for each entry: time of last change in nanoseconds, and inode. Size is the entry's."""

NO_STAMP = (0, 0)


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    release: Release
    channel: Channel
    groups: tuple[int, ...]
    folders: tuple[str, ...]
    stamps: bytes


FORMAT = 1


@dataclass(frozen=True, slots=True)
class Installed:
    """What the console put into a folder."""

    release: Release
    channel: Channel
    groups: tuple[int, ...]
    """Indexes of the install groups that are in place; all of them once an install is done."""
    folders: tuple[str, ...]
    """Folders the console made, and removes when they are empty; never the top one."""
    stamps: Stamps
    """Rows for the entries of ``groups``, in order."""


def entries_of(build: Build, groups: Sequence[int]) -> Iterator[tuple[int, int, Entry]]:
    """Yield group index, entry index and entry of everything in ``groups``, in order."""
    for group in groups:
        for index, entry in enumerate(build.shards[group].entries):
            yield group, index, entry


def stamp_of(found: os.stat_result) -> tuple[int, int]:
    """Return what changes when a file is written or replaced behind our back."""
    return found.st_mtime_ns, found.st_ino & 0x7FFF_FFFF_FFFF_FFFF


def read_installed(state: Folder) -> Installed | None:
    """Return the record in a state folder, or None if nothing is installed.

    Raises:
        IntegrityError: There is one, and it is damaged or of another version.
    """
    content = read_whole(state, RECORD, size_max=RECORD_SIZE_MAX)
    if content is None:
        return None
    payload = unframe(content)
    try:
        if payload is None:
            raise IntegrityError("the record of what is installed is damaged")
        stored = msgspec.msgpack.decode(payload, type=_Stored)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"the record of what is installed is damaged: {error}") from error
    if stored.format != FORMAT:
        raise IntegrityError(f"what is installed has format {stored.format}: update the program")
    return Installed(
        release=stored.release,
        channel=stored.channel,
        groups=stored.groups,
        folders=stored.folders,
        stamps=np.frombuffer(stored.stamps, dtype="<i8").reshape(-1, 2).astype(np.int64),
    )


def write_installed(state: Folder, installed: Installed) -> None:
    """Replace the record; durable when this returns."""
    stored = _Stored(
        format=FORMAT,
        release=installed.release,
        channel=installed.channel,
        groups=installed.groups,
        folders=installed.folders,
        stamps=installed.stamps.astype("<i8").tobytes(),
    )
    write_whole(state, RECORD, frame(msgspec.msgpack.encode(stored)))
