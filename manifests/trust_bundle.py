"""The trust bundle: all that a console must see to believe one channel's head, in one object.

Nothing in it is believed for being in it. It holds metadata under the names that a mirror of The
Update Framework serves them by, and the head; a client that lacks one of them asks for it singly.

Source: ``docs/format/trust.md``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from chunks.codec import compress, open_frame
from kit.buffers import Buffer
from kit.errors import FormatError

MAGIC = b"PHTB"
VERSION = 1
_HEADER = struct.Struct("<4sI")
"""Magic, version; one zstd frame follows."""
_ENTRY = struct.Struct("<BI")
"""Bytes of the name, bytes of the document; both follow."""

BUNDLE_SIZE_MAX = 256 << 10
"""Sixteen times what 50,000 builds of 500 publishers need."""
PLAIN_SIZE_MAX = 4 << 20
DOCUMENT_COUNT_MAX = 64

HEAD = "head"
"""The name under which a bundle holds the channel's head."""

NAME_PATTERN = r"[a-z0-9][a-z0-9.-]{0,126}\Z"

LEVEL = 16
"""A bundle is made once for all consoles of a title, of some 110 kB: this takes 12 ms and makes it
15 kB. Level 12 takes 2 ms and makes it 17 kB; level 19 takes 28 ms and gains nothing."""


def encode_bundle(documents: Mapping[str, Buffer]) -> bytes:
    """Return the bundle that holds ``documents`` by name, in their order."""
    parts: list[Buffer] = []
    for name, content in documents.items():
        parts += [_ENTRY.pack(len(name), len(content)), name.encode(), content]
    return _HEADER.pack(MAGIC, VERSION) + compress(b"".join(parts), LEVEL)


def parse_bundle(data: Buffer) -> dict[str, bytes]:
    """Return the documents of a bundle by name; *none of them is verified*.

    Raises:
        FormatError: It is damaged, of an unknown format, or larger than a bundle may be.
    """
    if not _HEADER.size < len(data) <= BUNDLE_SIZE_MAX:
        raise FormatError(f"trust bundle of {len(data)} bytes; at most {BUNDLE_SIZE_MAX}")
    magic, version = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise FormatError("trust bundle does not begin as one")
    if version != VERSION:
        raise FormatError(
            f"trust bundle has format {version}; this program reads {VERSION}: update the program"
        )
    plain = memoryview(open_frame(memoryview(data)[_HEADER.size :], PLAIN_SIZE_MAX))
    documents: dict[str, bytes] = {}
    at = 0
    while at < len(plain):
        name, content, at = _entry(plain, at)
        if name in documents or len(documents) == DOCUMENT_COUNT_MAX:
            raise FormatError(f"trust bundle has {name} twice, or too many documents")
        documents[name] = content
    return documents


def _entry(plain: memoryview, at: int) -> tuple[str, bytes, int]:
    if at + _ENTRY.size > len(plain):
        raise FormatError("trust bundle ends amid a document")
    name_size, size = _ENTRY.unpack_from(plain, at)
    begin = at + _ENTRY.size + name_size
    name = bytes(plain[at + _ENTRY.size : begin]).decode("ascii", "replace")
    if re.match(NAME_PATTERN, name) is None:
        raise FormatError(f"trust bundle has a document of a name that none has: {name[:80]!r}")
    if begin + size > len(plain):
        raise FormatError(f"trust bundle ends amid {name}")
    return name, bytes(plain[begin : begin + size]), begin + size
