"""The first chunk of a fresh install, fetched from the first page alone while the others come.

A build's manifest may have megabytes; its first page has some 8 KiB and says where the first
chunks are. Rows of the first page are the first rows of the build, so what is done here counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunks.plan import RangeRequest
from console.fetcher import Fetcher
from console.layout import Layout
from console.progress import Meter
from console.safe_paths import Folder
from console.staging import Staging, Written
from console.workers import Workers
from manifests import locations
from manifests.model import Shard, starts_of
from manifests.names import TitleId
from manifests.opening import first_request, in_turns
from manifests.page import Page


@dataclass(frozen=True, slots=True)
class HeadStart:
    """What the first request brought; sizes in bytes."""

    request_size: int
    plain_size: int
    written_size: int


async def fetch_first(
    page: Page,
    title: TitleId,
    *,
    folder: Folder,
    fetcher: Fetcher,
    workers: Workers,
    meter: Meter,
) -> HeadStart | None:
    """Fetch the first chunks into the staging folder ``folder``; None if there are none."""
    request = await workers.run(first_request, page)
    if request is None:
        return None
    staging = Staging(folder, [page.entries], page.chunks, _layout(page))
    bundle = page.chunks.bundles[request.bundle_index]
    key = locations.bundle_key(title, bundle.bundle_id)
    turns = in_turns(request)
    if not fetcher.may_start_with(key, (turns[0].start, turns[0].end)):
        turns = [request]  # asked for by itself, two would be a request more
    plain_size = written_size = 0
    for turn in turns:
        written = await _fetch(turn, key, staging=staging, fetcher=fetcher, workers=workers)
        meter.fetched(written.read_size, written.size)
        plain_size += written.read_size
        written_size += written.size
    return HeadStart(request.size, plain_size, written_size)


async def _fetch(
    request: RangeRequest, key: str, *, staging: Staging, fetcher: Fetcher, workers: Workers
) -> Written:
    body = memoryview(bytearray(request.size))

    async def accept() -> Written:
        return await workers.run(staging.put_range, request, body)

    return await fetcher.get_span(key, (request.start, request.end), body, accept)


def _layout(page: Page) -> Layout:
    """Return the layout of what the page alone tells: its entries, all of them new.

    The last entry may go on in the next page; its end is not known here, nor needed.
    """
    chunk_starts = starts_of(page.chunks.sizes[page.occurrences])
    shard = Shard("first page", page.entries, page.occurrences, chunk_starts)
    return Layout([shard], [np.ones(len(page.entries), np.bool_)])
