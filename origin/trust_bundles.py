"""Trust bundles, made when they are asked for and kept while nothing in them changes.

The origin verifies nothing here: consoles do. It follows the names: the timestamp names the
snapshot, that names the versions of all roles, the channel's bin names the publisher. What cannot
be found is left out, and consoles ask for it, or refuse, by name.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

import msgspec
from tuf.api.metadata import SuccinctRoles

from chunks.chunk_id import Digest, digest_of
from kit.clock import Clock
from kit.errors import FormatError, InvalidInput, NotFound
from kit.object_storage import Reader
from kit.single_flight import SingleFlight
from kit.telemetry import get_logger
from manifests.addresses import HeadAddress, TrustBundleAddress
from manifests.documents import DOCUMENT_SIZE_MAX
from manifests.locations import trust_key
from manifests.trust_bundle import BUNDLE_SIZE_MAX, HEAD, PLAIN_SIZE_MAX, encode_bundle
from manifests.trust_roles import (
    METADATA_SIZE_MAX,
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    head_path,
    publisher_id,
    publisher_role,
    shard_role,
)

log = get_logger("origin")
S = TypeVar("S", bound=msgspec.Struct)

ENTRY_OVERHEAD = 512
"""Bytes that Python objects around a document take: a guess on the safe side."""


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """A bundle, what it was made of, and when that was looked at last (monotonic seconds)."""

    digest: Digest
    content: bytes
    made_of: tuple[bytes, bytes]
    """Timestamp and head: nothing else in it changes without the timestamp."""
    looked_at: float


class TrustBundles:
    """Makes bundles; keeps the last used, and the documents they are made of, within a budget."""

    def __init__(
        self,
        reader: Reader,
        reads: asyncio.Semaphore,
        *,
        fresh_s: float,
        max_bytes: int,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._reads = reads
        self._fresh_s = fresh_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._bundles: OrderedDict[TrustBundleAddress, TrustBundle] = OrderedDict()
        self._documents: OrderedDict[str, bytes] = OrderedDict()
        self._newest_root = 0
        self._bytes = 0
        self._making: SingleFlight[TrustBundleAddress, TrustBundle] = SingleFlight()

    @property
    def held_bytes(self) -> int:
        """Bytes of all bundles and documents held."""
        return self._bytes

    async def close(self) -> None:
        """End what is being made."""
        await self._making.close()

    async def get(self, address: TrustBundleAddress) -> TrustBundle:
        """Return the bundle of a channel.

        Raises:
            NotFound: There is no such channel, or nothing is vouched for here.
            Unavailable: Storage does not answer.
        """
        known = self._bundles.get(address)
        if known is not None and self._clock.monotonic() - known.looked_at < self._fresh_s:
            self._bundles.move_to_end(address)
            return known
        return await self._making.run(address, lambda: self._look(address))

    async def _look(self, address: TrustBundleAddress) -> TrustBundle:
        now = self._clock.monotonic()
        head = await self._read(HeadAddress(address.title, address.channel).key, DOCUMENT_SIZE_MAX)
        timestamp = await self._read(trust_key(TIMESTAMP), DOCUMENT_SIZE_MAX)
        known = self._bundles.get(address)
        if known is not None and known.made_of == (timestamp, head):
            found = replace(known, looked_at=now)
        else:
            found = await self._made(address, timestamp, head, now)
        self._keep(address, found)
        return found

    async def _made(
        self, address: TrustBundleAddress, timestamp: bytes, head: bytes, now: float
    ) -> TrustBundle:
        documents = {HEAD: head, f"{TIMESTAMP}.json": timestamp}
        gathering = _Gathering(self, documents)
        try:
            await gathering.follow(timestamp, head_path(address.title, address.channel))
        except (FormatError, InvalidInput) as error:
            log.warning("trust.unreadable", path=address.path, error=str(error))
        content = await asyncio.to_thread(_within_limits, documents)
        return TrustBundle(digest_of(content), content, (timestamp, head), now)

    async def document(self, role: str, version: int) -> bytes:
        """Return a version of what a role signed, which never changes."""
        key = trust_key(role, version)
        known = self._documents.get(key)
        if known is not None:
            self._documents.move_to_end(key)
            return known
        found = await self._read(key, METADATA_SIZE_MAX)
        if key not in self._documents:
            self._documents[key] = found
            self._bytes += _cost(found)
            self._drop_surplus()
        return found

    async def newest_root(self) -> int:
        """Return the version of the newest root; 0 if even the first is not there."""
        while True:
            try:
                await self.document(ROOT, self._newest_root + 1)
            except NotFound:
                return self._newest_root
            self._newest_root += 1

    async def _read(self, key: str, size_max: int) -> bytes:
        async with self._reads:
            return await self._reader.get(key, size_max=size_max)

    def _keep(self, address: TrustBundleAddress, found: TrustBundle) -> None:
        earlier = self._bundles.pop(address, None)
        self._bundles[address] = found
        self._bytes += _cost(found.content) - (0 if earlier is None else _cost(earlier.content))
        self._drop_surplus()

    def _drop_surplus(self) -> None:
        while self._bytes > self._max_bytes and (self._documents or self._bundles):
            if self._documents:
                _, dropped = self._documents.popitem(last=False)
            else:
                dropped = self._bundles.popitem(last=False)[1].content
            self._bytes -= _cost(dropped)


class _Gathering:
    """Adds to ``documents`` what a console needs besides the timestamp, in the order of need."""

    def __init__(self, bundles: TrustBundles, documents: dict[str, bytes]) -> None:
        self._bundles = bundles
        self._documents = documents
        self._versions: dict[str, _Version] = {}

    async def follow(self, timestamp: bytes, path: str) -> None:
        """Follow the names from the timestamp to the publisher that ``path`` leads to.

        Raises:
            FormatError: A document is not what its role signs.
            InvalidInput: A publisher has no possible name.
        """
        root = await self._bundles.newest_root()
        if root:
            await self._add(ROOT, root)
        self._versions = _read(timestamp, _NamingDocument).signed.meta
        snapshot = await self._add_named(SNAPSHOT)
        if snapshot is None:
            return
        self._versions = _read(snapshot, _NamingDocument).signed.meta
        await self._add_named(TARGETS)
        release = await self._add_named(RELEASE)
        if release is None:
            return
        said = await self._add_named(_bin_of(release, path))
        target = None if said is None else _read(said, _TargetsDocument).signed.targets.get(path)
        if target is None:
            return
        publisher = publisher_id(target.custom.publisher)
        await self._add_named(shard_role(publisher))
        await self._add_named(publisher_role(publisher))

    async def _add_named(self, role: str) -> bytes | None:
        named = self._versions.get(f"{role}.json")
        if named is None:
            return None
        try:
            return await self._add(role, named.version)
        except NotFound:
            return None

    async def _add(self, role: str, version: int) -> bytes:
        found = await self._bundles.document(role, version)
        self._documents[f"{version}.{role}.json"] = found
        return found


def _within_limits(documents: dict[str, bytes]) -> bytes:
    """Return the bundle without the largest documents that would make it too large."""
    chosen = dict(documents)
    while True:
        if sum(map(len, chosen.values())) < PLAIN_SIZE_MAX - DOCUMENT_SIZE_MAX:
            content = encode_bundle(chosen)
            if len(content) <= BUNDLE_SIZE_MAX:
                return content
        del chosen[max(chosen, key=lambda name: len(chosen[name]))]


def _bin_of(release: bytes, path: str) -> str:
    found = _read(release, _ReleaseDocument).signed.delegations.succinct_roles
    return SuccinctRoles([], 1, found.bit_length, found.name_prefix).get_role_for_target(path)


def _read(document: bytes, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(document, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"metadata of trust is damaged: {error}") from error


def _cost(content: bytes) -> int:
    return ENTRY_OVERHEAD + len(content)


class _Version(msgspec.Struct):
    version: int


class _Naming(msgspec.Struct):
    meta: dict[str, _Version]


class _NamingDocument(msgspec.Struct):
    """A timestamp or a snapshot."""

    signed: _Naming


class _Bins(msgspec.Struct):
    bit_length: Annotated[int, msgspec.Meta(ge=1, le=32)]
    name_prefix: str


class _Delegations(msgspec.Struct):
    succinct_roles: _Bins


class _Release(msgspec.Struct):
    delegations: _Delegations


class _ReleaseDocument(msgspec.Struct):
    signed: _Release


class _Custom(msgspec.Struct):
    publisher: str


class _Target(msgspec.Struct):
    custom: _Custom


class _Targets(msgspec.Struct):
    targets: dict[str, _Target]


class _TargetsDocument(msgspec.Struct):
    signed: _Targets
