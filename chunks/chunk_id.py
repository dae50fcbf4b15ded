"""A chunk's name is the digest of its plain bytes; so is everything else's, of its own bytes."""

from __future__ import annotations

from typing import NewType

from blake3 import blake3

from kit.buffers import Buffer
from kit.errors import IntegrityError

Digest = NewType("Digest", bytes)
"""BLAKE3-256: 32 bytes, 64 lower-case hex digits where text is wanted."""

ChunkId = NewType("ChunkId", bytes)
"""The first 16 bytes of a chunk's digest, as pages keep it."""

DIGEST_SIZE = 32
CHUNK_ID_SIZE = 16


def digest_of(data: Buffer) -> Digest:
    """Name ``data``. Releases the GIL for all but small inputs."""
    return Digest(blake3(data).digest())


def chunk_id_of(digest: Digest) -> ChunkId:
    """Shorten the digest of a chunk to the id that pages keep."""
    return ChunkId(digest[:CHUNK_ID_SIZE])


def parse_digest(text: str) -> Digest:
    """Read 64 lower-case hex digits.

    Raises:
        ValueError: ``text`` is anything else; there is one spelling per digest.
    """
    if len(text) != 2 * DIGEST_SIZE or text != text.lower() or not text.isalnum():
        raise ValueError(f"expected 64 lower-case hex digits, got {text[:80]!r}")
    return Digest(bytes.fromhex(text))


def check_digest(what: str, data: Buffer, expected: Digest) -> None:
    """Do nothing if ``data`` has the digest ``expected``.

    Raises:
        IntegrityError: It does not; the bytes must not be used. ``what`` names them.
    """
    actual = digest_of(data)
    if actual != expected:
        raise IntegrityError(f"{what}: digest is {actual.hex()}, expected {expected.hex()}")
