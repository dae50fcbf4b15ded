"""A file of records that a crash at any byte leaves readable: append, sync, read back.

It begins with a magic number; each record is its size, the xxh3-64 of its body, and the body.
Whatever follows the last whole record is a write that was cut off, and is cut away.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import xxhash

from packager.durable_files import errors_named, fsync_folder

FILE_SIZE_MAX = 512 << 20
"""Four million chunks take 160 MB; a larger file has seen many failures and is begun anew."""

_HEADER = struct.Struct("<IQ")


class RecordFile:
    """The file at ``path``. One program at a time; its methods block and belong in threads."""

    def __init__(self, path: Path, magic: bytes) -> None:
        self._path = path
        self._magic = magic
        self._appending = threading.Lock()

    def load(self) -> list[bytes]:
        """Return the bodies of all whole records, and make the file fit to append to."""
        with errors_named(self._path):
            try:
                if self._path.stat().st_size > FILE_SIZE_MAX:
                    self._path.unlink()
                content = self._path.read_bytes()
            except FileNotFoundError:
                return []
            if not content.startswith(self._magic):
                self._path.unlink()
                return []
            bodies = list(self._bodies(content))
            end = len(self._magic) + sum(_HEADER.size + len(body) for body in bodies)
            if end < len(content):
                os.truncate(self._path, end)
            return bodies

    def append(self, body: bytes) -> None:
        """Add a record; durable once it returns. Several threads may call it.

        Raises:
            OutOfSpace: The disk is full.
        """
        record = _HEADER.pack(len(body), xxhash.xxh3_64_intdigest(body)) + body
        with errors_named(self._path), self._appending:
            self._append(record)

    def delete(self) -> None:
        """Forget everything."""
        with errors_named(self._path):
            self._path.unlink(missing_ok=True)

    def _append(self, record: bytes) -> None:
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            self._create()
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(handle, record)  # what a full disk cuts short is no whole record
            os.fsync(handle)
        finally:
            os.close(handle)

    def _create(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            if file.tell() == 0:
                file.write(self._magic)
        fsync_folder(self._path.parent)

    def _bodies(self, content: bytes) -> Iterator[bytes]:
        at = len(self._magic)
        while at + _HEADER.size <= len(content):
            size, checksum = _HEADER.unpack_from(content, at)
            at += _HEADER.size
            body = content[at : at + size]
            if len(body) != size or xxhash.xxh3_64_intdigest(body) != checksum:
                return
            yield body
            at += size
