"""Read a published build's chunks back from storage, many at a time, each one verified."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor

import numpy as np

from chunks import codec
from chunks.chunk_id import CHUNK_ID_SIZE, digest_of
from chunks.plan import RangeRequest, range_requests
from kit.concurrency import for_each
from kit.errors import IntegrityError
from manifests import locations
from manifests.model import U64, Build, starts_of
from packager.explain import wanted_of
from packager.title_store import TitleStore

RANGES_AT_ONCE = 4
"""Of up to 8 MiB: enough to hide S3's latency."""


class ChunkSource:
    """The chunks of ``build`` by row; rows laid end to end give each chunk its *position*."""

    def __init__(self, store: TitleStore, build: Build, threads: Executor) -> None:
        self.build = build
        self.positions: U64 = starts_of(build.chunks.sizes)
        """Where each row begins; one more at the end."""
        self.sizes: list[int] = build.chunks.sizes.tolist()
        """Plain bytes of each row."""
        self._store = store
        self._threads = threads

    async def read(self, rows: Sequence[int]) -> bytes:
        """Return the plain bytes of ``rows``, which are distinct, end to end in that order.

        Raises:
            NotFound, IntegrityError, FormatError: The storage lacks or has damaged one.
        """
        requests = range_requests(wanted_of(self.build, np.array(rows, np.uint32)))
        found = await for_each(requests, self._fetch, at_once=RANGES_AT_ONCE)
        plain = {row: chunk for part in found for row, chunk in part.items()}
        return b"".join([plain[row] for row in rows])

    def rows_between(self, start: int, end: int) -> range:
        """Return the rows that hold a byte of the positions ``[start, end)``."""
        start, end = max(start, 0), min(end, int(self.positions[-1]))
        if start >= end:
            return range(0)
        bounds = np.searchsorted(self.positions, np.array((start, end - 1), np.uint64), "right")
        return range(int(bounds[0]) - 1, int(bounds[1]))

    async def _fetch(self, request: RangeRequest) -> dict[int, bytes]:
        bundle = self.build.chunks.bundles[request.bundle_index]
        key = locations.bundle_key(self._store.title, bundle.bundle_id)
        stored = await self._store.storage.read(key, request.start, request.size)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._opened, request, memoryview(stored))

    def _opened(self, request: RangeRequest, stored: memoryview) -> dict[int, bytes]:
        return dict(self._chunks(request, stored))

    def _chunks(self, request: RangeRequest, stored: memoryview) -> Iterator[tuple[int, bytes]]:
        table = self.build.chunks
        for chunk in request.chunks:
            packed = stored[chunk.start - request.start : chunk.end - request.start]
            plain = bytes(codec.unpack(packed, int(table.sizes[chunk.row])))
            if digest_of(plain)[:CHUNK_ID_SIZE] != table.chunk_id(chunk.row):
                name = table.bundles[chunk.bundle_index].bundle_id.hex()
                raise IntegrityError(
                    f"bundle {name} of {self._store.title}: chunk at {chunk.start} is not what"
                    " its manifest says; `verify --title` tells how much is damaged"
                )
            yield chunk.row, plain


def batches(source: ChunkSource, rows: Sequence[int], size_max: int) -> Iterator[list[int]]:
    """Yield ``rows`` in order, as many at a time as have ``size_max`` plain bytes; at least one."""
    batch: list[int] = []
    size = 0
    for row in rows:
        row_size = source.sizes[row]
        if batch and size + row_size > size_max:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row_size
    if batch:
        yield batch
