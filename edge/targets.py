"""What a path of content leads to, prepared once so that an answer is put together in no time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar, assert_never

from chunks.chunk_id import Digest
from chunks.slices import SLICE_LIST_SIZE_MAX, SLICE_SIZE, SliceList, parse_slice_list
from edge.at_hand import AtHand, Sized
from edge.fill import Blob
from kit.errors import PlayheadError
from manifests.addresses import (
    BundleAddress,
    ManifestAddress,
    SliceAddress,
    SliceListAddress,
    parse_path,
)
from manifests.documents import PAGE_STORED_SIZE_MAX
from manifests.names import TitleId

L = TypeVar("L", bound=Sized)

TARGETS_MAX = 8192
"""Paths remembered; a bundle's holds its digests, some 2 KB. Beyond it the oldest is forgotten."""

ContentAddress: TypeAlias = BundleAddress | ManifestAddress | SliceAddress | SliceListAddress


@dataclass(frozen=True, slots=True)
class Target:
    """One object: what it is made of, and all of its headers that never change."""

    title: TitleId
    etag: str
    """Quotes included."""
    size: int
    names: tuple[Digest, ...]
    """What its blobs are cached under, in order."""
    address: ContentAddress
    kept: bytes
    """``ETag`` and ``Cache-Control``, which a 304 repeats."""
    described: bytes
    """The other headers of an answer with a body."""

    @property
    def blob_size(self) -> int:
        """Of each blob but the last, in bytes."""
        return SLICE_SIZE if isinstance(self.address, BundleAddress) else self.size

    def blob(self, index: int) -> Blob:
        """Return its blob ``index``, to be brought from wherever it is."""
        address = self.address
        match address:
            case ManifestAddress(title, digest):
                return Blob(digest, address.path, PAGE_STORED_SIZE_MAX, owner=title)
            case SliceListAddress(title, bundle_id):
                return Blob(bundle_id, address.path, SLICE_LIST_SIZE_MAX, owner=title)
            case SliceAddress():
                return Blob(self.names[0], address.path, SLICE_SIZE, self.size)
            case BundleAddress():
                path, size = address.slice(index).path, self.size - index * SLICE_SIZE
                return Blob(self.names[index], path, SLICE_SIZE, min(size, SLICE_SIZE))
            case _:
                assert_never(address)


class Targets(Generic[L]):
    """Targets by path. Belongs to one event loop; does no I/O."""

    def __init__(self, at_hand: AtHand[L], count_max: int = TARGETS_MAX) -> None:
        self._at_hand = at_hand
        self._count_max = count_max
        self._known: dict[bytes, Target] = {}

    def find(self, path: bytes) -> Target | None:
        """Return what ``path`` leads to; None if that is no content, or not known by now."""
        found = self._known.get(path)
        return found or self._prepare(path)

    def _prepare(self, path: bytes) -> Target | None:
        try:
            address = parse_path(path.decode("ascii"))
            target = self._target(address) if isinstance(address, ContentAddress) else None
        except (PlayheadError, UnicodeDecodeError):
            return None  # what is wrong with it is for the other lane to say
        if target is not None:
            self._known[path] = target
            if len(self._known) > self._count_max:
                del self._known[next(iter(self._known))]
        return target

    def _target(self, address: ContentAddress) -> Target | None:
        match address:
            case ManifestAddress(title, digest):
                return self._whole(address, Blob(digest, "", 0, owner=title))
            case SliceListAddress(title, bundle_id):
                return self._whole(address, Blob(bundle_id, "", 0, owner=title))
            case BundleAddress(_, bundle_id):
                slices = self._slices(address)
                if slices is None:
                    return None
                return _target(address, bundle_id, slices.bundle_size, slices.digests)
            case SliceAddress(_, _, index):
                slices = self._slices(address.bundle)
                if slices is None or index >= len(slices.digests):
                    return None
                start, end = slices.span(index)
                digest = slices.digests[index]
                return _target(address, digest, end - start, (digest,))

    def _whole(self, address: ContentAddress, blob: Blob) -> Target | None:
        at = self._at_hand.locate(blob.name)
        return None if at is None else _target(address, blob.digest, at.size, (blob.name,))

    def _slices(self, bundle: BundleAddress) -> SliceList | None:
        name = Blob(bundle.bundle_id, "", 0, owner=bundle.title).name
        at = self._at_hand.locate(name)
        content = None if at is None else self._at_hand.read_now(at, 0, at.size, bytearray)
        return None if content is None else parse_slice_list(content, bundle.bundle_id)


def _target(
    address: ContentAddress,
    digest: Digest,
    size: int,
    names: tuple[Digest, ...],
) -> Target:
    etag = f'"{digest.hex()}"'
    kept = f"ETag: {etag}\r\nCache-Control: {address.cache_control}\r\n"
    described = f"Accept-Ranges: bytes\r\nContent-Type: {address.content_type}\r\n"
    return Target(address.title, etag, size, names, address, kept.encode(), described.encode())
