"""Keep what an interrupted making of deltas has stored, so that the next one goes on from there.

A record is appended after its bundle is stored. It names each delta by the digest of what went
into it, so it is right for whichever builds need the same delta again. The file is framed as the
journal of a push is (``journal.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from chunks.chunk_id import ChunkId, Digest, digest_of
from chunks.delta import Effort, Method
from manifests.delta_index import StoredDelta
from manifests.model import BundleRef
from packager.record_file import RecordFile

_MAGIC = b"PHDJ\x01\0\0\0"


class _Delta(msgspec.Struct, frozen=True, array_like=True):
    name: bytes
    method: int
    check: bytes
    offset: int
    size: int


class _Record(msgspec.Struct, frozen=True, array_like=True):
    bundle_id: bytes
    bundle_size: int
    deltas: tuple[_Delta, ...]


class JournaledDelta(msgspec.Struct, frozen=True):
    """A delta that is in storage, though maybe no delta set names it yet."""

    method: Method
    check: bytes
    bundle: BundleRef
    offset: int
    size: int


class DeltaJournal:
    """The journal at ``path``; its methods block and belong in threads."""

    def __init__(self, path: Path) -> None:
        self._file = RecordFile(path, _MAGIC)

    def load(self) -> dict[Digest, JournaledDelta]:
        """Return the deltas stored so far, by name."""
        found: dict[Digest, JournaledDelta] = {}
        for body in self._file.load():
            try:
                record = msgspec.msgpack.decode(body, type=_Record)
            except msgspec.DecodeError:
                break
            bundle = BundleRef(Digest(record.bundle_id), record.bundle_size)
            for each in record.deltas:
                found[Digest(each.name)] = JournaledDelta(
                    Method(each.method), each.check, bundle, each.offset, each.size
                )
        return found

    def append(self, deltas: Iterable[tuple[Digest, StoredDelta]]) -> None:
        """Note that these deltas, all of one bundle, are stored; durable once it returns."""
        named = list(deltas)
        bundle = named[0][1].bundle
        rows = tuple(_Delta(n, d.method, d.check, d.offset, d.size) for n, d in named)
        record = _Record(bundle.bundle_id, bundle.size, rows)
        self._file.append(msgspec.msgpack.encode(record))

    def delete(self) -> None:
        """Forget everything: the delta set is announced."""
        self._file.delete()


def name_of_delta(targets: Sequence[ChunkId], bases: Sequence[ChunkId], effort: Effort) -> Digest:
    """Name a delta by what goes into it."""
    parts = (effort.name.encode(), len(targets).to_bytes(4, "little"), *targets, *bases)
    return digest_of(b"".join(parts))
