"""The blobs that addresses name: what an edge fetches, verifies and caches for each."""

from __future__ import annotations

from chunks.slices import SLICE_LIST_SIZE_MAX, SLICE_SIZE, SliceList, parse_slice_list
from edge.fill import Blob, Blobs
from kit.errors import NotFound
from manifests.addresses import ManifestAddress, SliceAddress, SliceListAddress, parse_path
from manifests.documents import PAGE_STORED_SIZE_MAX


def manifest_blob(address: ManifestAddress) -> Blob:
    """Return the blob of a root, a page, an index or a manifest delta."""
    return Blob(address.digest, address.path, PAGE_STORED_SIZE_MAX, owner=address.title)


def slice_list_blob(address: SliceListAddress) -> Blob:
    """Return the blob of a slice list."""
    return Blob(address.bundle_id, address.path, SLICE_LIST_SIZE_MAX, owner=address.title)


async def blob_at(path: str, blobs: Blobs) -> Blob:
    """Return the blob of a path, by way of its slice list if it is a slice.

    Raises:
        NotFound: No blob can have this path.
        NoUpstream: Its slice list cannot be had.
    """
    match parse_path(path):
        case ManifestAddress() as address:
            return manifest_blob(address)
        case SliceListAddress() as address:
            return slice_list_blob(address)
        case SliceAddress() as address:
            bundle = address.bundle
            landed = await blobs.begin(slice_list_blob(bundle.slice_list)).landed()
            slices = parse_slice_list(landed.content, bundle.bundle_id)
            if address.index < len(slices.digests):
                return slice_blob(address, slices)
    raise NotFound(f"{path[:200]}: no blob has this path")


def slice_blob(address: SliceAddress, slices: SliceList) -> Blob:
    """Return the blob of a slice, whose digest its bundle's slice list says."""
    start, end = slices.span(address.index)
    digest = slices.digests[address.index]
    return Blob(digest, address.path, SLICE_SIZE, end - start, title=address.title)
