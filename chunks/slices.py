"""Slices of a bundle and the list that names them: what an edge verifies and caches.

A bundle's id is the digest of its slice list, and the list holds the digest of every slice;
so whoever knows the id can verify any slice alone (``docs/format/bundle.md``).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from chunks.chunk_id import DIGEST_SIZE, Digest, check_digest, digest_of
from kit.buffers import Buffer
from kit.errors import FormatError

SLICE_SIZE = 1 << 20
BUNDLE_SIZE_MAX = 32 << 20
SLICE_LIST_SIZE_MAX = 8 + DIGEST_SIZE * (BUNDLE_SIZE_MAX // SLICE_SIZE)

_SIZE = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class SliceList:
    """The digests of a bundle's slices, in order, and the bundle's size in bytes."""

    bundle_size: int
    digests: tuple[Digest, ...]

    @classmethod
    def of(cls, bundle: Buffer) -> SliceList:
        """Hash every slice of ``bundle``."""
        view = memoryview(bundle)
        starts = range(0, len(view), SLICE_SIZE)
        return cls(len(view), tuple(digest_of(view[at : at + SLICE_SIZE]) for at in starts))

    def encode(self) -> bytes:
        """Return the list as it is stored; its digest is the bundle's id."""
        return _SIZE.pack(self.bundle_size) + b"".join(self.digests)

    @property
    def bundle_id(self) -> Digest:
        """The name of the bundle."""
        return digest_of(self.encode())

    def span(self, index: int) -> tuple[int, int]:
        """Return where slice ``index`` lies in the bundle, as ``[start, end)``."""
        start = index * SLICE_SIZE
        return start, min(start + SLICE_SIZE, self.bundle_size)

    def check(self, index: int, data: Buffer) -> None:
        """Do nothing if ``data`` is slice ``index``.

        Raises:
            IntegrityError: It is not; the bytes must be neither kept nor sent.
        """
        check_digest(f"slice {index} of a bundle", data, self.digests[index])


def parse_slice_list(data: Buffer, bundle_id: Digest) -> SliceList:
    """Read a slice list that must be the one of ``bundle_id``.

    Raises:
        IntegrityError: It is another bundle's, or damaged.
        FormatError: It has the right digest and is still no slice list.
    """
    check_digest(f"slice list of bundle {bundle_id.hex()}", data, bundle_id)
    if len(data) < _SIZE.size + DIGEST_SIZE:
        raise FormatError(f"slice list of bundle {bundle_id.hex()} has only {len(data)} bytes")
    (size,) = _SIZE.unpack_from(data)
    if not 0 < size <= BUNDLE_SIZE_MAX:
        raise FormatError(f"bundle {bundle_id.hex()} claims {size} bytes; 1 to {BUNDLE_SIZE_MAX}")
    count = -(-size // SLICE_SIZE)
    if len(data) != _SIZE.size + count * DIGEST_SIZE:
        raise FormatError(f"bundle {bundle_id.hex()}: {size} bytes need {count} slice digests")
    view = bytes(data)
    starts = range(_SIZE.size, len(view), DIGEST_SIZE)
    return SliceList(size, tuple(Digest(view[at : at + DIGEST_SIZE]) for at in starts))
