"""Deflate streams in their wrappers, made as the programs that write archives make them."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
import zlib
from dataclasses import dataclass

WORDS = [bytes(random.Random(seed).choices(b"etaoinshrdlu", k=3 + seed % 7)) for seed in range(300)]


def text(size: int, seed: int = 0) -> bytes:
    """Return words in random order: what deflates to about a third, and differently by level."""
    words = random.Random(seed).choices(WORDS, k=size // 4 + 1)
    return b" ".join(words)[:size]


def raw_deflate(
    plain: bytes,
    level: int = 6,
    window_bits: int = 15,
    memory_level: int = 8,
    strategy: int = zlib.Z_DEFAULT_STRATEGY,
) -> bytes:
    """Return a raw deflate stream, made in one call."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -window_bits, memory_level, strategy)
    return deflater.compress(plain) + deflater.flush()


@dataclass(frozen=True)
class Wrapped:
    """A stream with its header and checksum: ``data[start:end]`` is the raw stream."""

    data: bytes
    start: int
    end: int


def zlib_wrapped(plain: bytes, level: int = 6, window_bits: int = 15) -> Wrapped:
    """Wrap as a pak file does."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, window_bits)
    data = deflater.compress(plain) + deflater.flush()
    return Wrapped(data, 2, len(data) - 4)


def gzip_wrapped(plain: bytes, level: int = 6, name: str = "") -> Wrapped:
    """Wrap as gzip does, with the file's name if there is one."""
    out = io.BytesIO()
    with gzip.GzipFile(name, "wb", level, out, mtime=0) as file:
        file.write(plain)
    data = out.getvalue()
    return Wrapped(data, 10 + (len(name) + 1 if name else 0), len(data) - 8)


class _Pipe(io.RawIOBase):
    """A file that cannot seek: a zip in it has its sizes behind each member."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.written += data
        return len(data)


def zip_of(
    members: dict[str, bytes],
    level: int = 6,
    *,
    method: int = zipfile.ZIP_DEFLATED,
    is_streamed: bool = False,
    is_zip64: bool = False,
) -> bytes:
    """Return a zip archive; every member has the same time, so equal members make equal bytes."""
    out: _Pipe | io.BytesIO = _Pipe() if is_streamed else io.BytesIO()
    with zipfile.ZipFile(out, "w", method, compresslevel=level) as archive:
        for name, plain in members.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            entry._compresslevel = level  # type: ignore[attr-defined]
            with archive.open(entry, "w", force_zip64=is_zip64) as member:
                member.write(plain)
    return bytes(out.written) if isinstance(out, _Pipe) else out.getvalue()


def bomb(size: int) -> bytes:
    """Return the raw deflate stream of ``size`` zeros, a multiple of 1 MiB: blocks all alike."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return block * (size >> 20) + raw_deflate(b"")
