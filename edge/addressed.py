"""The blobs that addresses name: what an edge fetches, verifies and caches for each."""

from __future__ import annotations

from chunks.slices import SLICE_LIST_SIZE_MAX, SLICE_SIZE, SliceList
from edge.fill import Blob
from manifests.addresses import ManifestAddress, SliceAddress, SliceListAddress
from manifests.documents import PAGE_STORED_SIZE_MAX


def manifest_blob(address: ManifestAddress) -> Blob:
    """Return the blob of a root, a page, an index or a manifest delta."""
    return Blob(address.digest, address.path, PAGE_STORED_SIZE_MAX, owner=address.title)


def slice_list_blob(address: SliceListAddress) -> Blob:
    """Return the blob of a slice list."""
    return Blob(address.bundle_id, address.path, SLICE_LIST_SIZE_MAX, owner=address.title)


def slice_blob(address: SliceAddress, slices: SliceList) -> Blob:
    """Return the blob of a slice, whose digest its bundle's slice list says."""
    start, end = slices.span(address.index)
    return Blob(slices.digests[address.index], address.path, SLICE_SIZE, end - start)
