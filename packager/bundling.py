"""Pack new chunks into bundles, one install group at a time and in play order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from chunks.bundle import BundleWriter, target_size
from kit.buffers import Buffer
from packager.ledger import AdoptedBundle, Ledger, NewChunk, NewItem


class FullBundle(NamedTuple):
    """A bundle that takes no more chunks and must be closed and stored; its index in the ledger."""

    bundle_index: int
    writer: BundleWriter


class Bundler:
    """Fills one bundle after another. Owned by the thread that owns the ledger.

    What goes into which bundle depends on the order of chunks alone, and on their stored sizes.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._group_index = 0
        self._bundle_count = 0
        """Bundles begun in this group."""
        self._open: FullBundle | None = None
        self._offset = 0

    def add(self, items: Sequence[NewItem], stored: Sequence[Buffer]) -> list[FullBundle]:
        """Pack ``items``, whose chunks are stored as ``stored``; return the bundles now full."""
        full: list[FullBundle] = []
        frames = iter(stored)
        for item in items:
            full += self._enter_group(item.group_index)
            match item:
                case AdoptedBundle():
                    self._bundle_count += 1
                case NewChunk():
                    full += self._pack(item, next(frames))
        return full

    def finish(self) -> list[FullBundle]:
        """Return the bundle that is still open, if any: there are no more chunks for it."""
        left = [] if self._open is None else [self._open]
        self._open = None
        return left

    def _enter_group(self, group_index: int) -> list[FullBundle]:
        if group_index == self._group_index:
            return []
        self._group_index, self._bundle_count = group_index, 0
        return self.finish()

    def _pack(self, chunk: NewChunk, stored: Buffer) -> Iterator[FullBundle]:
        if self._open is None:
            writer = BundleWriter(target_size(self._group_index, self._bundle_count))
            self._open = FullBundle(self._ledger.reserve_bundle(), writer)
            self._bundle_count += 1
            self._offset = 0
        index, writer = self._open
        writer.add(chunk.digest, chunk.end - chunk.start, stored)
        self._ledger.place(chunk.row, index, self._offset, len(stored))
        self._offset += len(stored)
        if writer.is_full:
            yield from self.finish()
