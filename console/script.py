"""What a commit does before its renames: which old files it takes, and how it patches them.

A script lies in staging, durable, before the journal has the intent to carry it out. It needs
nothing but itself and the files it names, so whoever finds it can finish it.
"""

from __future__ import annotations

import msgspec

from chunks import codec
from console.durable import read_whole, write_whole
from console.journal import frame, unframe
from console.safe_paths import Folder
from kit.errors import FormatError

SCRIPT = "script"
SCRIPT_SIZE_MAX = 1 << 30
"""Some fifty bytes for each piece that is moved: this is a build of terabytes."""

COMPRESSION_LEVEL = 9
"""Pieces follow each other, so a script packs to a fifth, and where there is little room it lies
beside what is moved."""


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """Immutable; stored without field names."""


class Take(_Row, frozen=True):
    """An old file, by path in the title's folder, that becomes ``name`` in staging.

    It is to be the new entry at ``index`` of ``group``, patched or as it is.
    """

    path: str
    name: str
    group: int
    index: int
    stamp: tuple[int, int]
    """Of the file that was looked at (``installed.py``): another one is not to be trusted."""


class Patched(_Row, frozen=True):
    """A taken file that is patched, and what it is in the end; ``size`` in bytes."""

    group: int
    index: int
    name: str
    size: int
    is_executable: bool


class File(_Row, frozen=True):
    """A file that pieces are read from or written to: in staging, or in the title's folder."""

    path: str
    is_staged: bool


class Part(_Row, frozen=True):
    """``size`` bytes from ``offset`` of a file, an index into :attr:`Script.files`."""

    file: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Where the part ends."""
        return self.offset + self.size


class Move(_Row, frozen=True):
    """Bytes that become ``target``: the parts, one after another."""

    target: Part
    sources: tuple[Part, ...]


class Batch(_Row, frozen=True):
    """Moves that are made durable together.

    Before the first of them, ``saved`` is written to files of its own: what the moves overwrite
    and someone still needs. No move reads what a move of the same batch overwrites.
    """

    moves: tuple[Move, ...]
    saved: tuple[Saved, ...] = ()
    drops: tuple[int, ...] = ()
    """Files that nobody needs once the batch is durable."""
    shrinks: tuple[Part, ...] = ()
    """What is still needed then of files that more was needed of; the rest is cut off."""


class Saved(_Row, frozen=True):
    """Parts that are copied, one after another, to a new staged file."""

    file: int
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)


class Check(_Row, frozen=True):
    """Where a chunk of the new build that was moved has to be in the end."""

    group: int
    index: int
    row: int
    place: Part


class Script(_Row, frozen=True):
    """All of it, in the order in which it is done."""

    takes: tuple[Take, ...]
    patched: tuple[Patched, ...] = ()
    files: tuple[File, ...] = ()
    batches: tuple[Batch, ...] = ()
    checks: tuple[Check, ...] = ()


def size_of(script: Script) -> int:
    """Return how many bytes a script has in its file."""
    return len(_packed(script))


def write_script(staging: Folder, script: Script) -> None:
    """Keep a script in a staging folder; durable when this returns."""
    write_whole(staging, SCRIPT, _packed(script))


def read_script(staging: Folder) -> Script | None:
    """Return the script in a staging folder; None if it is gone or damaged."""
    content = read_whole(staging, SCRIPT, size_max=SCRIPT_SIZE_MAX)
    payload = None if content is None else unframe(content)
    try:
        if payload is None:
            return None
        return msgspec.msgpack.decode(codec.open_frame(payload, SCRIPT_SIZE_MAX), type=Script)
    except (msgspec.DecodeError, FormatError):
        return None


def _packed(script: Script) -> bytes:
    return frame(codec.compress(msgspec.msgpack.encode(script), COMPRESSION_LEVEL))
