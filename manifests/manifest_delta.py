"""A manifest delta: all that a console reads of a new build before its bytes, in one small object.

The new build's root, its new pages and the index of the deltas that lead there mostly repeat what
the old build's root and pages say: paths, ids of chunks that stay, ids of bases. So their plain
bytes are packed against those (``docs/format/deltas.md``). Nothing of it is believed: whatever
is rebuilt is checked against the digest it is wanted by, and what cannot be rebuilt is fetched.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from chunks import codec
from chunks.delta import BASE_SIZE_MAX, TARGET_SIZE_MAX, Method, apply_delta, repeats_of
from kit.buffers import Buffer
from kit.errors import FormatError
from manifests import delta_index, page
from manifests.documents import PAGE_COUNT_MAX, PageRef, Root

MAGIC = b"PHMD"
VERSION = 1
PART_COUNT_MAX = PAGE_COUNT_MAX + 2
"""Every page, the root, the index."""

_HEADER = struct.Struct("<4sIII")
_FRAMED = {
    page.MAGIC: (page.HEADER_SIZE, page.COMPRESSION_LEVEL),
    delta_index.MAGIC: (delta_index.HEADER_SIZE, delta_index.COMPRESSION_LEVEL),
}
"""What begins so has a header of so many bytes, and a frame of this level after it."""


def pages_of(root: Root) -> list[PageRef]:
    """Return the pages of all groups in order, each once."""
    return list(dict.fromkeys(each for group in root.groups for each in group.pages))


def new_pages_of(root: Root, base: Root) -> list[PageRef]:
    """Return the pages of ``root`` that ``base`` has not, in order, each once."""
    had = {each.digest for each in pages_of(base)}
    return [each for each in pages_of(root) if each.digest not in had]


def encode_manifest_delta(base: Sequence[Buffer], target: Sequence[Buffer]) -> bytes | None:
    """Pack stored objects against others; None if they are too large, or will not be rebuilt.

    Args:
        base: The old build's root and then its pages.
        target: The new build's root, then its new pages, then the index.
    """
    try:
        parts = [_opened(part) for part in target]
        of_base = _opened_base(base)
    except FormatError:
        return None
    plain = b"".join(parts)
    if len(parts) > PART_COUNT_MAX or len(plain) > TARGET_SIZE_MAX:
        return None
    if any(_closed(part) != stored for part, stored in zip(parts, target, strict=True)):
        return None  # another library stored it, and would have to rebuild it
    sizes = struct.pack(f"<{len(parts)}I", *map(len, parts))
    header = _HEADER.pack(MAGIC, VERSION, len(parts), 0)
    return b"".join((header, sizes, repeats_of(plain, of_base)))


def apply_manifest_delta(data: Buffer, base: Sequence[Buffer]) -> list[bytes]:
    """Return the stored objects that ``data`` makes of those in ``base``, *none of them verified*.

    Raises:
        FormatError: It is damaged, breaks a rule of the format, or is for another base.
    """
    view = memoryview(data)
    if len(view) < _HEADER.size or view[:4] != MAGIC:
        raise FormatError("is no manifest delta")
    _, version, count, zero = _HEADER.unpack_from(view)
    if version != VERSION:
        raise FormatError(f"has format {version}; this program reads {VERSION}: update the program")
    start = _HEADER.size + 4 * count
    if zero or not 0 < count <= PART_COUNT_MAX or len(view) < start:
        raise FormatError("has impossible counts")
    sizes = struct.unpack_from(f"<{count}I", view, _HEADER.size)
    plain = memoryview(apply_delta(Method.ZSTD, view[start:], _opened_base(base), sum(sizes)))
    parts: list[bytes] = []
    for size in sizes:
        parts.append(_closed(plain[:size]))
        plain = plain[size:]
    return parts


def _opened_base(stored: Sequence[Buffer]) -> bytes:
    """Return all opened, end to end; stop as soon as it is more than a delta's base may have."""
    parts: list[bytes] = []
    left_size = BASE_SIZE_MAX
    for each in stored:
        parts.append(_opened(each))
        left_size -= len(parts[-1])
        if left_size < 0:
            raise FormatError(f"the manifest it is for opens to more than {BASE_SIZE_MAX} bytes")
    return b"".join(parts)


def _opened(stored: Buffer) -> bytes:
    """Return a page or an index with its frame opened, anything else as it is."""
    framed = _FRAMED.get(bytes(stored[:4]))
    if framed is None:
        return bytes(stored)
    header_size, _ = framed
    view = memoryview(stored)
    return bytes(view[:header_size]) + codec.open_frame(view[header_size:], page.PLAIN_SIZE_MAX)


def _closed(opened: Buffer) -> bytes:
    framed = _FRAMED.get(bytes(opened[:4]))
    if framed is None:
        return bytes(opened)
    header_size, level = framed
    view = memoryview(opened)
    return bytes(view[:header_size]) + codec.compress(view[header_size:], level)
