"""One run of a warm: bring a release before anybody asks for it, in the order in which they will.

::

    head, trust -> release -> root, pages, indexes -> slice lists and slices in play order -> deltas

It goes through the edge's own fills, so whatever comes is verified, and what a client asks for
meanwhile is fetched once. What is here already is read and verified instead.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from blake3 import blake3

from chunks.chunk_id import DIGEST_SIZE, Digest
from chunks.slices import SLICE_SIZE, SliceList, parse_slice_list
from edge.addressed import slice_blob, slice_list_blob
from edge.documents import DocumentAddress
from edge.fill import Blob
from edge.operating.carrier import Carrier
from edge.operating.messages import Amount, Kind, Warm, WarmPhase
from edge.operating.play_order import WantedSlice
from edge.operating.releases import Contents, read_contents, read_trust
from edge.operating.targets import OfChannel, OfRelease, OfTitle, parse_target
from kit.buffers import Buffer
from kit.concurrency import for_each
from kit.errors import InvalidInput, NotFound
from manifests.addresses import BundleAddress, HeadAddress, ReleaseAddress
from manifests.documents import Release, parse_head, parse_release
from manifests.model import BundleRef
from manifests.names import Channel, TitleId

DEFAULT_CHANNEL = Channel("live")


def warm_target(warm: Warm) -> OfChannel | OfRelease:
    """Return what a warm is to bring.

    Raises:
        InvalidInput: It names no release; or deltas, which a head names, of none with a head.
    """
    match parse_target(warm.request.target):
        case OfTitle(title):
            return OfChannel(title, DEFAULT_CHANNEL)
        case OfChannel() as found:
            return found
        case OfRelease() as found:
            if warm.request.deltas:
                raise InvalidInput(
                    f"{warm.request.target}: a channel's head says which deltas there are; name"
                    " the channel, as in game@live"
                )
            return found
        case _:
            raise InvalidInput(f"{warm.request.target}: expected TITLE, TITLE@CHANNEL or @COUNTER")


Supersede = Callable[[TitleId], Awaitable[Amount]]
"""Lets go first of what is in no release that is played; returns how much it is."""


@dataclass
class Warming:
    """Carries one warm through; ``warm`` says how far it is at any time."""

    warm: Warm
    carrier: Carrier
    at_once: int
    """Fetches at the same time."""
    supersede: Supersede

    def __post_init__(self) -> None:
        self._lists: dict[Digest, SliceList | None] = {}
        self._listing: defaultdict[Digest, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.contents: Contents | None = None

    async def run(self) -> None:
        """Bring all of it; what cannot be had is counted, and passed over.

        Raises:
            NotFound, NoUpstream: What says how much there is cannot be had.
            UpstreamGone: Too much in a row could not be had.
            FormatError: It is not what it should be.
        """
        warm = self.warm
        release = await self._release()
        self.contents = await self._manifest(release)
        slices = self.contents.slices(warm.request.groups)
        deltas = self.contents.deltas
        self._plan(slices, deltas)
        warm.phase = WarmPhase.RUNNING
        await self._bring(release.title, slices, Kind.SLICE)
        await self._bring(release.title, deltas, Kind.DELTA)
        await self.carrier.finish()
        warm.ids_digest = self._ids_digest(self.contents, [*slices, *deltas])
        if warm.request.supersede:
            warm.superseded = await self.supersede(release.title)

    async def _release(self) -> Release:
        """Bring what vouches for the release; return it, the same in every run of a warm."""
        warm = self.warm
        target = warm_target(warm)
        if isinstance(target, OfRelease):
            document = await self.carrier.document(ReleaseAddress(target.title, target.counter))
            warm.release = parse_release(document.content, target.title, target.counter)
            return warm.release
        title, channel = target.title, target.channel
        document = await self.carrier.document(HeadAddress(title, channel))
        if warm.head is None:
            warm.head = parse_head(document.content, title, channel)
            warm.release = warm.head.release
        trust = HeadAddress(title, channel).path + "/trust"
        await self.carrier.or_note(trust, read_trust(self.carrier.document, title, channel))
        await self._note_release(ReleaseAddress(title, warm.head.release.counter))
        return warm.head.release

    async def _note_release(self, address: DocumentAddress) -> None:
        await self.carrier.or_note(address.path, self.carrier.document(address))

    async def _manifest(self, release: Release) -> Contents:
        async def bring(blob: Blob, size: int) -> Buffer:
            return await self.carrier.blob(blob, Kind.MANIFEST, size)

        head = self.warm.head if self.warm.request.deltas else None
        return await read_contents(release, head, bring, at_once=self.at_once)

    def _plan(self, slices: Sequence[WantedSlice], deltas: Sequence[WantedSlice]) -> None:
        warm = self.warm
        bundles = {wanted.bundle for wanted in (*slices, *deltas)}
        before = {
            kind.value: warm.fetched.get(kind.value, Amount())
            + warm.present.get(kind.value, Amount())
            for kind in (Kind.DOCUMENT, Kind.MANIFEST)
        }
        warm.planned = {
            **before,
            Kind.SLICE_LIST.value: Amount(len(bundles), sum(map(_slice_list_size, bundles))),
            Kind.SLICE.value: _amount(slices),
            Kind.DELTA.value: _amount(deltas),
        }

    async def _bring(self, title: TitleId, wanted: Iterable[WantedSlice], kind: Kind) -> None:
        async def bring(each: WantedSlice) -> None:
            bundle = BundleAddress(title, each.bundle.bundle_id)
            slices = await self._slice_list(bundle, each.bundle)
            if slices is None:
                await self.carrier.or_note(bundle.slice(each.index).path, _unknown(bundle))
                return
            blob = slice_blob(bundle.slice(each.index), slices)
            await self.carrier.or_note(blob.path, self.carrier.blob(blob, kind, each.size))

        await for_each(wanted, bring, at_once=self.at_once)

    async def _slice_list(self, bundle: BundleAddress, ref: BundleRef) -> SliceList | None:
        """Return a slice list, brought before the first slice of its bundle; None if it cannot."""
        bundle_id = bundle.bundle_id
        async with self._listing[bundle_id]:
            if bundle_id not in self._lists:
                blob = slice_list_blob(bundle.slice_list)
                bringing = self.carrier.blob(blob, Kind.SLICE_LIST, _slice_list_size(ref))
                content = await self.carrier.or_note(blob.path, bringing)
                found = None if content is None else parse_slice_list(content, bundle_id)
                self._lists[bundle_id] = found
        return self._lists[bundle_id]

    def _ids_digest(self, contents: Contents, wanted: Sequence[WantedSlice]) -> str:
        """Return the digest of all ids, in order; empty if some could not be had."""
        ids = blake3(b"".join(contents.manifests))
        for bundle_id in dict.fromkeys(each.bundle.bundle_id for each in wanted):
            ids.update(bundle_id)
        for each in wanted:
            slices = self._lists.get(each.bundle.bundle_id)
            if slices is None:
                return ""
            ids.update(slices.digests[each.index])
        return ids.hexdigest()


def _slice_list_size(bundle: BundleRef) -> int:
    return 8 + DIGEST_SIZE * -(-bundle.size // SLICE_SIZE)


def _amount(wanted: Sequence[WantedSlice]) -> Amount:
    return Amount(len(wanted), sum(each.size for each in wanted))


async def _unknown(bundle: BundleAddress) -> None:
    raise NotFound(f"{bundle.path}: its slice list could not be had")
