"""The slice lists asked for lately: how large a bundle is, and what its slices are named."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from chunks.chunk_id import DIGEST_SIZE
from chunks.slices import SLICE_LIST_SIZE_MAX, SliceList, parse_slice_list
from kit.object_storage import Reader
from manifests.addresses import SliceListAddress

ENTRY_OVERHEAD = 512
"""Bytes that Python objects around a list take: a guess on the safe side."""


class SliceLists:
    """Reads slice lists, verifies them, and remembers the last used within a budget of bytes."""

    def __init__(self, reader: Reader, reads: asyncio.Semaphore, max_bytes: int) -> None:
        self._reader = reader
        self._reads = reads
        self._max_bytes = max_bytes
        self._lists: OrderedDict[SliceListAddress, SliceList] = OrderedDict()
        self._bytes = 0

    async def get(self, address: SliceListAddress) -> SliceList:
        """Return the list at ``address``.

        Raises:
            NotFound: There is no such bundle.
            IntegrityError: What storage holds is not the list of that bundle.
            Unavailable: Storage does not answer.
        """
        known = self._lists.get(address)
        if known is not None:
            self._lists.move_to_end(address)
            return known
        async with self._reads:
            stored = await self._reader.get(address.key, size_max=SLICE_LIST_SIZE_MAX)
        found = parse_slice_list(stored, address.bundle_id)
        self._remember(address, found)
        return found

    def _remember(self, address: SliceListAddress, found: SliceList) -> None:
        if address in self._lists:
            return  # another request read it too
        self._lists[address] = found
        self._bytes += _cost(found)
        while self._bytes > self._max_bytes:
            _, dropped = self._lists.popitem(last=False)
            self._bytes -= _cost(dropped)


def _cost(found: SliceList) -> int:
    # A digest is a bytes object of 33 bytes more than it holds.
    return ENTRY_OVERHEAD + len(found.digests) * (DIGEST_SIZE + 33 + 8)
