"""Where the bytes of a build begin: the small range that a fresh install asks for first. Pure.

Consoles and edges decide it from the first page by the same rule, so an edge that is told that a
console starts knows what it will ask for.
"""

from __future__ import annotations

from dataclasses import replace

from chunks.plan import RangeRequest, Wanted, range_requests
from manifests.page import Page


def first_request(page: Page) -> RangeRequest | None:
    """Return the range that brings the first chunks of ``page``; None if it has none.

    It takes ``FIRST_REQUEST_SIZE`` bytes at most, unless the first chunk alone takes more.
    """
    chunks = page.chunks
    ends = chunks.offsets.astype("u8") + chunks.stored_sizes
    columns = (chunks.bundle_indexes, chunks.offsets, ends)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    wanted = [Wanted(row, *place) for row, place in enumerate(rows)]
    return next(range_requests(wanted), None)


def in_turns(request: RangeRequest) -> list[RangeRequest]:
    """Return ``request`` as the spans that a start call brings: its first chunk, and the rest.

    So the first chunk is verified and written while the others are on their way: what is behind
    it takes a new connection one or two round trips more.
    """
    first, *others = request.chunks
    if not others or others[0].start < first.end:  # a manifest may let chunks overlap
        return [request]
    return [
        replace(request, end=first.end, chunks=(first,)),
        replace(request, start=first.end, chunks=tuple(others)),
    ]
