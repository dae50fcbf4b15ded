"""Where one object is, since when, and if it is nowhere, why."""

from __future__ import annotations

from datetime import UTC, datetime

from chunks.chunk_id import Digest
from edge.addressed import manifest_blob, slice_blob, slice_list_blob
from edge.documents import DocumentAddress, Documents
from edge.operating.keeping import Keeping, Kept
from edge.operating.messages import Explanation
from edge.operating.selection import Selecting
from edge.operating.targets import OfId, OfObject, parse_target
from edge.store.departures import Departure, Departures, Reason
from edge.upstream.upstreams import Upstreams
from kit.clock import Clock
from kit.errors import InvalidInput, NotFound, Unavailable
from kit.units import size_text
from manifests.addresses import (
    Address,
    BundleAddress,
    HeadAddress,
    ManifestAddress,
    ReleaseAddress,
    SliceAddress,
    SliceListAddress,
    TimestampAddress,
    TrustAddress,
    TrustBundleAddress,
)

_GONE = {
    Reason.EVICTED: "evicted for room",
    Reason.SUPERSEDED: "evicted first, for no release that is played has it",
    Reason.PURGED: "purged by an operator",
    Reason.BIT_ROT: "dropped, for the disk gave back other bytes",
    Reason.TOO_LARGE: "never kept: larger than the cache",
    Reason.DISK: "never kept: the disk would not take it",
    Reason.DISK_BUSY: "never kept: too much was being written at the time",
}


class Explaining:
    """Looks, and fetches nothing but slice lists: they say what a slice is called."""

    def __init__(
        self,
        *,
        documents: Documents,
        keeping: Keeping,
        selecting: Selecting,
        departures: Departures,
        upstreams: Upstreams,
        clock: Clock,
    ) -> None:
        self._documents = documents
        self._keeping = keeping
        self._selecting = selecting
        self._departures = departures
        self._upstreams = upstreams
        self._clock = clock

    async def explain(self, text: str) -> Explanation:
        """Say what is known of an object by its id, path or URL.

        Raises:
            InvalidInput: It names no single object.
        """
        match parse_target(text):
            case OfObject(BundleAddress() as address):
                return self._blob(text, address.slice_list, _name_of_list(address))
            case OfObject(address):
                return await self._object(text, address)
            case OfId(digest):
                return self._id(text, digest)
            case _:
                raise InvalidInput(f"{text[:80]!r}: expected an object's URL or path, or its id")

    async def _object(self, text: str, address: Address) -> Explanation:
        match address:
            case SliceAddress():
                try:
                    slices = await self._selecting.slices(address.bundle)
                except (NotFound, Unavailable):
                    return self._unknown_slice(text, address)
                if address.index >= len(slices.digests):
                    raise NotFound(f"{address.path}: the bundle has {len(slices.digests)} slices")
                return self._blob(text, address, slice_blob(address, slices).name)
            case ManifestAddress():
                return self._blob(text, address, manifest_blob(address).name)
            case SliceListAddress():
                return self._blob(text, address, slice_list_blob(address).name)
            case (
                HeadAddress()
                | ReleaseAddress()
                | TrustBundleAddress()
                | TimestampAddress()
                | TrustAddress()
            ):
                return self._document(text, address)
            case _:
                raise AssertionError(address)

    def _id(self, text: str, digest: Digest) -> Explanation:
        """Say of an id what it names here: a slice's, or an object's of a title that is known."""
        candidates: list[tuple[Address | None, Digest]] = [(None, digest)]
        candidates += [
            (address, manifest_blob(address).name)
            for address in (ManifestAddress(title, digest) for title in self._selecting.titles())
        ]
        for address, name in candidates:
            if self._keeping.has(name):
                return self._blob(text, address, name)
        for address, name in candidates:
            if self._departures.of(name) is not None:
                return self._blob(text, address, name)
        return self._blob(text, None, digest)

    def _blob(self, text: str, address: Address | None, name: Digest) -> Explanation:
        kept, departure = self._keeping.look(name), self._departures.of(name)
        kind = _kind(address)
        if kept is not None:
            return self._kept(text, address, kept)
        return Explanation(
            what=text,
            source=self._source_text(),
            path="" if address is None else address.path,
            kind=kind,
            gone="never seen" if departure is None else _GONE[departure.reason],
            gone_s=0.0 if departure is None else departure.at_s,
            text=f"not cached: {_gone_text(departure)}; {self._source_text()}",
        )

    def _kept(self, text: str, address: Address | None, kept: Kept) -> Explanation:
        pinned = f", pinned until {_time(kept.pinned_until_s)}" if kept.pinned_until_s else ""
        superseded = ", superseded: it goes first" if kept.is_superseded else ""
        return Explanation(
            what=text,
            source=self._source_text(),
            path="" if address is None else address.path,
            kind=_kind(address),
            cached=True,
            tier="disk",
            size=kept.size,
            stored_s=kept.stored_s,
            uses=kept.uses,
            pinned_until_s=kept.pinned_until_s,
            superseded=kept.is_superseded,
            place=kept.place,
            text=f"cached since {_time(kept.stored_s)}: {size_text(kept.size)} at {kept.place},"
            f" used {kept.uses} times since its last turn{pinned}{superseded}",
        )

    def _unknown_slice(self, text: str, address: SliceAddress) -> Explanation:
        return Explanation(
            what=text,
            source=self._source_text(),
            path=address.path,
            kind="slice",
            gone="its slice list is neither here nor to be had",
            text="not cached as far as can be told: its bundle's slice list is neither here nor to"
            f" be had; {self._source_text()}",
        )

    def _document(self, text: str, address: DocumentAddress) -> Explanation:
        known = self._documents.look(address)
        if known is None:
            return Explanation(
                what=text,
                source=self._source_text(),
                path=address.path,
                kind="document",
                gone="never seen",
                text=f"not cached: never seen, dropped for room, or purged; {self._source_text()}",
            )
        age_s = known.age_s(self._clock.now())
        return Explanation(
            what=text,
            source=self._source_text(),
            path=address.path,
            kind="document",
            cached=True,
            tier="memory",
            size=len(known.content),
            stored_s=known.fetched_at,
            place=f"{age_s:.0f} s old",
            text=f"cached since {_time(known.fetched_at)}: {size_text(len(known.content))},"
            f" {age_s:.0f} s old",
        )

    def _source_text(self) -> str:
        """Say where it would come from now."""
        usable = [each.url for each in self._upstreams.health() if each.is_healthy]
        return f"it would come from {usable[0]}" if usable else "no upstream is healthy now"


def _name_of_list(address: BundleAddress) -> Digest:
    return slice_list_blob(address.slice_list).name


def _kind(address: Address | None) -> str:
    match address:
        case None | SliceAddress():
            return "slice"
        case SliceListAddress():
            return "slice-list"
        case ManifestAddress():
            return "manifest"
        case _:
            return "document"


def _gone_text(departure: Departure | None) -> str:
    if departure is None:
        return "never seen, or gone for longer than is remembered"
    return f"{_GONE[departure.reason]}, {_time(departure.at_s)}"


def _time(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
