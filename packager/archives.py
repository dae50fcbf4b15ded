"""Look through compression: did what is inside an archive change, or only how it was packed?"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from zipfile import BadZipFile, ZipFile, ZipInfo

import zstandard

from packager.formats import BZIP2, GZIP, XZ, ZLIB, ZSTD, FileFormat

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ReadFile: TypeAlias = Callable[[str, int, int], bytes]
"""Reads path, start and size: fewer bytes only where the file ends."""

PLAIN_SIZE_MAX = 512 << 10
"""As much of a stream is opened: enough to see whether it says the same."""

DIRECTORY_SIZE_MAX = 32 << 20
"""A zip's directory is read at once: this much lists some 300,000 members."""


@dataclass(frozen=True, slots=True)
class ZipLikeness:
    """Two zips beside each other; sizes in bytes, compressed."""

    member_count: int
    same_count: int
    """Members whose plain bytes have the same size and checksum as before."""
    size: int
    same_size: int
    same_packed_count: int
    """Of the same ones, those that even compressed to as many bytes."""
    redated_count: int
    """Of those, the ones that bear another date."""


def zip_members(read: ReadFile, path: str, size: int) -> list[ZipInfo]:
    """Return the files in a zip; none if its directory is damaged or too large."""
    try:
        with ZipFile(io.BufferedReader(_Opened(read, path, size))) as found:
            return [member for member in found.infolist() if not member.is_dir()]
    except (BadZipFile, NotImplementedError, ValueError, OSError):
        return []


def compare_zips(before: Sequence[ZipInfo], after: Sequence[ZipInfo]) -> ZipLikeness:
    """Compare the members of two zips."""
    was = {member.filename: member for member in before}
    same = [
        (was[member.filename], member)
        for member in after
        if member.filename in was
        and (was[member.filename].CRC, was[member.filename].file_size)
        == (member.CRC, member.file_size)
    ]
    packed = [(a, b) for a, b in same if a.compress_size == b.compress_size]
    return ZipLikeness(
        member_count=len(after),
        same_count=len(same),
        size=sum(member.compress_size for member in after),
        same_size=sum(member.compress_size for _, member in same),
        same_packed_count=len(packed),
        redated_count=sum(a.date_time != b.date_time for a, b in packed),
    )


def opened(head: bytes, form: FileFormat) -> bytes:
    """Return the plain bytes that a compressed stream begins with, as far as ``head`` tells.

    Empty if the format is one that we cannot open, or the bytes are damaged.
    """
    opener = _OPENERS.get(form)
    try:
        return b"" if opener is None else opener(head)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, zstandard.ZstdError):
        return b""


def _open_zlib(window_bits: int) -> Callable[[bytes], bytes]:
    return lambda head: zlib.decompressobj(window_bits).decompress(head, PLAIN_SIZE_MAX)


def _open_zstd(head: bytes) -> bytes:
    limit = zstandard.ZstdDecompressor(max_window_size=128 << 20)
    with limit.stream_reader(head) as reader:
        return reader.read(PLAIN_SIZE_MAX)


_OPENERS: dict[FileFormat, Callable[[bytes], bytes]] = {
    GZIP: _open_zlib(31),
    ZLIB: _open_zlib(15),
    XZ: lambda head: lzma.LZMADecompressor(memlimit=256 << 20).decompress(head, PLAIN_SIZE_MAX),
    BZIP2: lambda head: bz2.BZ2Decompressor().decompress(head, PLAIN_SIZE_MAX),
    ZSTD: _open_zstd,
}


class _Opened(io.RawIOBase):
    """A file of a build as Python's zipfile wants it."""

    def __init__(self, read: ReadFile, path: str, size: int) -> None:
        self._read_file = read
        self._path = path
        self._size = size
        self._at = 0
        self._left = DIRECTORY_SIZE_MAX

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        if len(view) > self._left:
            raise OSError("the directory is too large")
        found = self._read_file(self._path, self._at, len(view))
        view[: len(found)] = found
        self._at += len(found)
        self._left -= len(found)
        return len(found)
