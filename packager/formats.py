"""Tell from its first bytes what kind of file it is, as far as that says why it changed."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class FileKind(Enum):
    """What a file is to a patch."""

    PROGRAM = "program"
    """Machine code: a build makes it anew."""
    ARCHIVE = "archive"
    """Members, each compressed on its own."""
    STREAM = "stream"
    """Compressed from front to end."""
    MEDIA = "media"
    """A picture, sound or film, compressed in its own way."""


class FileFormat(NamedTuple):
    """A format by name, and its kind."""

    name: str
    kind: FileKind


ZIP = FileFormat("zip", FileKind.ARCHIVE)
GZIP = FileFormat("gzip", FileKind.STREAM)
ZLIB = FileFormat("zlib", FileKind.STREAM)
ZSTD = FileFormat("zstd", FileKind.STREAM)
XZ = FileFormat("xz", FileKind.STREAM)
BZIP2 = FileFormat("bzip2", FileKind.STREAM)

_MAGICS: tuple[tuple[bytes, FileFormat], ...] = (
    (b"\x7fELF", FileFormat("ELF", FileKind.PROGRAM)),
    (b"MZ", FileFormat("PE", FileKind.PROGRAM)),
    (b"\xcf\xfa\xed\xfe", FileFormat("Mach-O", FileKind.PROGRAM)),
    (b"\xce\xfa\xed\xfe", FileFormat("Mach-O", FileKind.PROGRAM)),
    (b"\xca\xfe\xba\xbe", FileFormat("Mach-O", FileKind.PROGRAM)),
    (b"\0asm", FileFormat("WebAssembly", FileKind.PROGRAM)),
    (b"!<arch>\n", FileFormat("static library", FileKind.PROGRAM)),
    (b"PK\x03\x04", ZIP),
    (b"7z\xbc\xaf\x27\x1c", FileFormat("7z", FileKind.STREAM)),
    (b"Rar!\x1a\x07", FileFormat("RAR", FileKind.STREAM)),
    (b"\x1f\x8b", GZIP),
    (b"\x28\xb5\x2f\xfd", ZSTD),
    (b"\xfd7zXZ\0", XZ),
    (b"BZh", BZIP2),
    (b"\x04\x22\x4d\x18", FileFormat("LZ4", FileKind.STREAM)),
    (b"UnityFS\0", FileFormat("Unity asset bundle", FileKind.STREAM)),
    (b"\x78\x01", ZLIB),
    (b"\x78\x5e", ZLIB),
    (b"\x78\x9c", ZLIB),
    (b"\x78\xda", ZLIB),
    (b"\x89PNG\r\n", FileFormat("PNG", FileKind.MEDIA)),
    (b"\xff\xd8\xff", FileFormat("JPEG", FileKind.MEDIA)),
    (b"OggS", FileFormat("Ogg", FileKind.MEDIA)),
    (b"fLaC", FileFormat("FLAC", FileKind.MEDIA)),
    (b"ID3", FileFormat("MP3", FileKind.MEDIA)),
    (b"\x1aE\xdf\xa3", FileFormat("WebM", FileKind.MEDIA)),
    (b"BIKi", FileFormat("Bink", FileKind.MEDIA)),
    (b"KB2", FileFormat("Bink", FileKind.MEDIA)),
    (b"wOF2", FileFormat("WOFF2", FileKind.MEDIA)),
)

_MP4_BRAND_PLACE = slice(4, 8)
_RIFF_KIND_PLACE = slice(8, 12)


def format_of(head: bytes) -> FileFormat | None:
    """Return the format that begins like ``head``, or None if it is none of those we know."""
    if head[_MP4_BRAND_PLACE] == b"ftyp":
        return FileFormat("MP4", FileKind.MEDIA)
    if head.startswith(b"RIFF"):
        name = head[_RIFF_KIND_PLACE].decode("ascii", "replace").strip()
        return FileFormat(name, FileKind.MEDIA)
    return next((found for magic, found in _MAGICS if head.startswith(magic)), None)
