"""What a console is doing, in a file that a crash at any byte leaves readable.

A journal belongs to one operation. It begins with :class:`Begin`, then come checkpoints as chunks
become durable, and before anything in the title's folder is touched comes an :class:`Intent`:
from then on the work is done by whoever opens the journal next, whatever happens.

::

    begin -> checkpoint* -> intent -> landed -> checkpoint* -> intent -> landed -> gone
                              |         ^
                              +-> taken -> applied* (where old files are used: ``script.py``)

Each record is framed by its length and an xxh3 checksum; the first frame that does not hold ends
the journal, and appending goes on from there.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec
import numpy as np
import xxhash

from chunks.chunk_id import Digest
from console.durable import write_all, write_whole
from console.safe_paths import Folder
from kit.buffers import Buffer
from manifests.documents import ObjectRef, Release
from manifests.model import U32
from manifests.names import Channel

JOURNAL = "journal"
RECORD_SIZE_MAX = 64 << 20
"""Four million rows of four bytes, and the folders of a large build, fit in four times over."""

_FRAME = struct.Struct("<IQ")


class _Record(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Immutable, keyword-only; stored without field names."""


class Abandoned(_Record, frozen=True, tag="abandoned"):
    """A build that was being staged when a newer one came: its chunks can be reused."""

    root: ObjectRef
    rows: bytes


class Begin(_Record, frozen=True, tag="begin"):
    """What is to be installed, and what is left of an attempt at something else."""

    release: Release
    channel: Channel
    abandoned: Abandoned | None = None


class Checkpoint(_Record, frozen=True, tag="checkpoint"):
    """Rows of the new build whose bytes are durable in staging; 32 bits each, little-endian."""

    rows: bytes


class Intent(_Record, frozen=True, tag="intent"):
    """Everything these groups need is durable in staging; put it in place."""

    groups: tuple[int, ...]
    folders: tuple[str, ...]
    """Folders that did not exist before, so that they are ours to remove one day."""
    has_script: bool = False
    """Whether there is a script (``script.py``) to be carried out first."""


class Taken(_Record, frozen=True, tag="taken"):
    """The old files that the intent's script takes are in staging."""

    unsound: tuple[tuple[int, int], ...] = ()
    """Entries, by group and index, whose file was another one; they are to be mended."""


class Applied(_Record, frozen=True, tag="applied"):
    """So many batches of the intent's script are durable; one more: it is carried out."""

    batches: int
    unsound: tuple[tuple[int, int], ...] = ()
    """Entries that did not come out right and are to be mended too."""


class Landed(_Record, frozen=True, tag="landed"):
    """The intent before it is carried out, and the installed record says so."""


Record: TypeAlias = Begin | Checkpoint | Intent | Taken | Applied | Landed


@dataclass(frozen=True, slots=True)
class Carried:
    """How far the script of an intent was carried out."""

    is_taken: bool = False
    batches: int = 0
    unsound: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """An operation that was begun and not finished."""

    begin: Begin
    rows: U32
    intent: Intent | None
    """One that has not landed."""
    carried: Carried = Carried()
    """How far its script was carried out."""

    @property
    def build_id(self) -> Digest:
        """The build to be installed."""
        return self.begin.release.root.raw_digest


class Journal:
    """Appends to the journal in a state folder. Belongs to whoever holds the folder's lock."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._appending = threading.Lock()

    @classmethod
    def begin(cls, state: Folder, begin: Begin) -> Journal:
        """Replace whatever journal there is by a new one."""
        write_whole(state, JOURNAL, frame(msgspec.msgpack.encode(begin)))
        return cls(_open(state))

    @classmethod
    def resume(cls, state: Folder) -> Journal:
        """Open the journal that :func:`read_journal` found, without its torn end if it has one."""
        fd = _open(state)
        os.ftruncate(fd, sum(size for _, size in _frames(_content(fd))))
        return cls(fd)

    def append(self, record: Record) -> None:
        """Add a record; it is durable when this returns. Any thread may call."""
        with self._appending:
            write_all(self._fd, frame(msgspec.msgpack.encode(record)))
            os.fsync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def read_journal(state: Folder) -> Pending | None:
    """Return the operation under way, or None."""
    fd = state.open_file(JOURNAL)
    if fd is None:
        return None
    try:
        return pending_of([_decode(payload) for payload, _ in _frames(_content(fd))])
    finally:
        os.close(fd)


def pending_of(records: Sequence[Record]) -> Pending | None:
    """Return what a journal's records say; None if they do not begin with :class:`Begin`."""
    if not records or not isinstance(records[0], Begin):
        return None
    rows = [_rows(record.rows) for record in records if isinstance(record, Checkpoint)]
    intent, carried = None, Carried()
    for record in records:
        match record:
            case Intent():
                intent, carried = record, Carried()
            case Landed():
                intent, carried = None, Carried()
            case Taken():
                carried = Carried(is_taken=True, unsound=record.unsound)
            case Applied():
                unsound = (*carried.unsound, *record.unsound)
                carried = replace(carried, batches=record.batches, unsound=unsound)
            case _:
                pass
    return Pending(
        begin=records[0],
        rows=np.concatenate(rows) if rows else np.zeros(0, np.uint32),
        intent=intent,
        carried=carried,
    )


def remove_journal(state: Folder) -> None:
    """End the operation."""
    state.remove_file(JOURNAL)
    state.sync()


def checkpoint_of(rows: U32) -> Checkpoint:
    """Return the record that these rows are durable."""
    return Checkpoint(rows=rows.astype("<u4").tobytes())


def rows_of(abandoned: Abandoned) -> U32:
    """Return the rows that were durable when the build was abandoned."""
    return _rows(abandoned.rows)


def frame(payload: Buffer) -> bytes:
    """Return ``payload`` with its length and checksum before it."""
    return _FRAME.pack(len(payload), xxhash.xxh3_64_intdigest(payload)) + payload


def unframe(content: Buffer) -> memoryview | None:
    """Return the payload of the first frame; None if it is torn or damaged."""
    return next((payload for payload, _ in _frames(content)), None)


def _frames(content: Buffer) -> Iterator[tuple[memoryview, int]]:
    """Yield the payload and the framed size of every frame up to the first that does not hold."""
    view = memoryview(content)
    while len(view) >= _FRAME.size:
        size, checksum = _FRAME.unpack_from(view)
        payload = view[_FRAME.size : _FRAME.size + size]
        if len(payload) != size or xxhash.xxh3_64_intdigest(payload) != checksum:
            return
        yield payload, _FRAME.size + size
        view = view[_FRAME.size + size :]


def _decode(payload: memoryview) -> Record:
    record: Record = msgspec.msgpack.decode(payload, type=Record)
    return record


def _rows(packed: bytes) -> U32:
    return np.frombuffer(packed, dtype="<u4").astype(np.uint32)


def _open(state: Folder) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(JOURNAL, flags, dir_fd=state.fd)


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)
