"""Verified blobs in memory: the same policy as on disk, over bytes that are sent as they are."""

from __future__ import annotations

from collections.abc import Iterable

from chunks.chunk_id import Digest
from edge.eviction import S3Fifo
from kit.buffers import Buffer


class MemoryCache:
    """Blobs by digest, within a budget of bytes. Whoever holds a blob keeps it alive."""

    def __init__(self, max_bytes: int) -> None:
        self._policy: S3Fifo[Digest] = S3Fifo(max_bytes)
        self._blobs: dict[Digest, Buffer] = {}

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._blobs

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return self._policy.size

    def get(self, digest: Digest) -> Buffer | None:
        """Return the blob if it is here."""
        self._policy.use(digest)
        return self._blobs.get(digest)

    def put(self, digest: Digest, content: Buffer) -> None:
        """Keep ``content``, which the caller has verified and will not change."""
        if not self._policy.can_hold(len(content)):
            return
        for victim in self._policy.admit(digest, len(content)):
            del self._blobs[victim]
        self._blobs[digest] = content

    def drop(self, names: Iterable[Digest]) -> None:
        """Let go of blobs, whether they are here or not."""
        for name in names:
            self._policy.remove(name)
            self._blobs.pop(name, None)
