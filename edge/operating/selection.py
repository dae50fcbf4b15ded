"""What an operator's target is in the cache: names of blobs, and documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from chunks.chunk_id import Digest
from chunks.slices import SliceList, parse_slice_list
from edge.addressed import manifest_blob, slice_blob, slice_list_blob
from edge.documents import DocumentAddress, Documents
from edge.fill import Blob, Blobs
from edge.operating.everywhere import Everywhere
from edge.operating.keeping import Keeping
from edge.operating.releases import read_contents, read_head, read_release
from edge.operating.targets import OfChannel, OfId, OfObject, OfRelease, OfTitle, Target
from kit.buffers import Buffer
from kit.concurrency import for_each
from kit.errors import FormatError, NotFound, Unavailable
from manifests.addresses import (
    BundleAddress,
    HeadAddress,
    ManifestAddress,
    ReleaseAddress,
    SliceAddress,
    SliceListAddress,
    TimestampAddress,
    TrustAddress,
    TrustBundleAddress,
    parse_path,
)
from manifests.documents import Head, Release
from manifests.names import TitleId

READS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Selection:
    """What is meant, whether it is cached or not."""

    names: list[Digest]
    documents: list[DocumentAddress]


class Selecting:
    """Finds out what targets mean; reads manifests and slice lists through the cache for it."""

    def __init__(
        self, documents: Documents, blobs: Blobs, keeping: Keeping, everywhere: Everywhere
    ) -> None:
        self._documents = documents
        self._blobs = blobs
        self._keeping = keeping
        self._everywhere = everywhere

    async def select(self, target: Target) -> Selection:
        """Return what ``target`` means.

        Raises:
            NotFound: There is no such release or object.
            NoUpstream: What says it is neither here nor to be had.
        """
        match target:
            case OfTitle(title):
                names = await self._everywhere.names_of(title)
                return Selection(names, _addresses(self._documents, title))
            case OfChannel(title, channel):
                head = await read_head(self._documents, title, channel)
                named: list[DocumentAddress] = [
                    HeadAddress(title, channel),
                    TrustBundleAddress(title, channel),
                ]
                return await self._release(head.release, head, named)
            case OfRelease(title, counter):
                return await self._release(
                    await read_release(self._documents, title, counter), None, []
                )
            case OfObject(address):
                return await self._object(address)
            case OfId(digest):
                return await self._id(digest)
            case _:
                assert_never(target)

    async def played(self, title: TitleId) -> set[Digest]:
        """Return the names of all that releases need which channels play, as far as is known.

        Raises: as :meth:`select`.
        """
        names: set[Digest] = set()
        for address in _addresses(self._documents, title):
            if isinstance(address, HeadAddress):
                found = await self.select(OfChannel(title, address.channel))
                names.update(found.names)
        return names

    async def slices(self, bundle: BundleAddress) -> SliceList:
        """Return the slice list of a bundle.

        Raises: as :meth:`select`.
        """
        landed = await self._blobs.begin(slice_list_blob(bundle.slice_list)).landed()
        return parse_slice_list(landed.content, bundle.bundle_id)

    async def bundle_names(self, bundle: BundleAddress) -> list[Digest]:
        """Return the names of a bundle's slice list and slices.

        Raises: as :meth:`select`.
        """
        slices = await self.slices(bundle)
        of_slices = (bundle.slice(index) for index in range(len(slices.digests)))
        return [
            slice_list_blob(bundle.slice_list).name,
            *(slice_blob(each, slices).name for each in of_slices),
        ]

    async def _release(
        self, release: Release, head: Head | None, named: list[DocumentAddress]
    ) -> Selection:
        title = release.title

        async def bring(blob: Blob, _size: int) -> Buffer:
            return (await self._blobs.begin(blob).landed()).content

        contents = await read_contents(release, head, bring, at_once=READS_AT_ONCE)
        names = [manifest_blob(ManifestAddress(title, each)).name for each in contents.manifests]
        bundles = {each.bundle.bundle_id for each in (*contents.slices(), *contents.deltas)}
        of_bundles = await for_each(
            (BundleAddress(title, bundle_id) for bundle_id in sorted(bundles)),
            self.bundle_names,
            at_once=READS_AT_ONCE,
        )
        for of_bundle in of_bundles:
            names += of_bundle
        return Selection(names, [*named, ReleaseAddress(title, release.counter)])

    async def _object(self, address: object) -> Selection:
        match address:
            case (
                HeadAddress()
                | ReleaseAddress()
                | TrustBundleAddress()
                | TimestampAddress()
                | TrustAddress()
            ):
                return Selection([], [address])
            case ManifestAddress():
                return Selection([manifest_blob(address).name], [])
            case SliceListAddress():
                return Selection([slice_list_blob(address).name], [])
            case SliceAddress():
                slices = await self.slices(address.bundle)
                if address.index >= len(slices.digests):
                    raise NotFound(f"{address.path}: the bundle has {len(slices.digests)} slices")
                return Selection([slice_blob(address, slices).name], [])
            case BundleAddress():
                return Selection(await self.bundle_names(address), [])
            case _:
                raise AssertionError(address)

    async def _id(self, digest: Digest) -> Selection:
        """Return whatever is named by ``digest``: as a slice, or for any title that is known."""
        names = [digest]
        for title in self.titles():
            name = manifest_blob(ManifestAddress(title, digest)).name
            if not self._keeping.has(name):
                continue
            names.append(name)
            try:
                names += await self.bundle_names(BundleAddress(title, digest))
            except (NotFound, Unavailable, FormatError):
                continue  # a root or a page, not a bundle
        return Selection(list(dict.fromkeys(names)), [])

    def titles(self) -> Iterable[TitleId]:
        """Return the titles of which a head or a release is here."""
        paths = (document.path for document in self._documents.known())
        return dict.fromkeys(
            TitleId(path.split("/")[2]) for path in paths if path.startswith("/t/")
        )


def _addresses(documents: Documents, title: TitleId) -> list[DocumentAddress]:
    found = (parse_path(document.path) for document in documents.known(title))
    return [
        each
        for each in found
        if isinstance(each, HeadAddress | ReleaseAddress | TrustBundleAddress)
    ]
