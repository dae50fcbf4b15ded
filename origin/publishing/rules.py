"""What a publisher may do to which key: the origin's policy on objects of titles.

1. Every key is one of a title in the publisher's scope, in its one spelling. Nothing else can be
   read, listed, stored or deleted.
2. What a digest names is stored once, and only if its bytes have that digest.
3. A release is stored once, under the next counter, and only if its root, its pages, and every
   bundle that those name are stored *in this title*.
4. A head may be replaced: by one of a channel in scope, whose release is stored, is vouched for as
   what that channel plays, is complete as rule 3 has it, and never has a lower counter.
5. A release may be stored again unchanged, which tells storage's clock when a channel left it.
   What is known of a delta set may be replaced, if that set is stored.
6. A claim to the title's lock may be stored, replaced and deleted by whoever may change the title.
7. Anything else may be deleted by whoever may sweep, but heads never, and nothing that one needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol
from weakref import WeakValueDictionary

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import TargetFile

from kit.buffers import Buffer
from kit.errors import Conflict, Denied, FormatError, NotFound
from kit.object_storage import Reader
from manifests import locations
from manifests.documents import (
    DOCUMENT_SIZE_MAX,
    Head,
    Release,
    encode,
    parse_delta_set,
    parse_head,
    parse_release,
)
from manifests.names import Channel, TitleId
from manifests.publishing_scope import Scope
from manifests.title_keys import TitleKey, parse_title_key, title_of_prefix
from origin.publishing.content import SIZE_MAX, check_content
from origin.publishing.needs import NeedsReader


class Witness(Protocol):
    """Knows what the platform vouches for."""

    async def head_of(self, title: TitleId, channel: Channel) -> TargetFile | None:
        """Return what it says of a channel now; None if nothing."""


class Rules(Protocol):
    """Decides what whoever has a scope may do; the routes do nothing that was not asked here."""

    def check_list(self, scope: Scope, prefix: str) -> None:
        """Do nothing if keys with this prefix may be listed; raise Denied or InvalidInput."""

    def check_read(self, scope: Scope, key: str) -> None:
        """Do nothing if ``key`` may be read; raise Denied or InvalidInput."""

    def size_max(self, scope: Scope, key: str, *, is_once: bool) -> int:
        """Return how many bytes may be stored under ``key``; raise Denied if none may."""

    def is_direct(self, key: str) -> bool:
        """Tell whether ``key`` may be put straight into a bucket, to be verified there."""

    def is_noted(self, key: str) -> bool:
        """Tell whether what is done to ``key`` is worth a line in the audit log."""

    def writing(self, key: str) -> asyncio.Lock:
        """Return what is held from check to write, so that nothing comes between."""

    async def check_put(self, scope: Scope, key: str, data: Buffer, *, is_once: bool) -> None:
        """Do nothing if ``data`` may be stored under ``key``.

        Raises:
            IntegrityError, FormatError: It is not what the key says: for the quarantine.
            Denied, Conflict: It may not be, as things are.
        """

    async def check_delete(self, scope: Scope, keys: Sequence[str]) -> None:
        """Do nothing if all of ``keys`` may be deleted; raise Denied, Conflict, InvalidInput."""


class TitleRules:
    """Implements :class:`Rules` for titles."""

    def __init__(self, reader: Reader, witness: Witness) -> None:
        self._reader = reader
        self._witness = witness
        self._needs = NeedsReader(reader)
        self._writing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def check_list(self, scope: Scope, prefix: str) -> None:
        """Let a title in scope be listed."""
        scope.check_title(title_of_prefix(prefix))

    def check_read(self, scope: Scope, key: str) -> None:
        """Let a title in scope be read."""
        scope.check_title(parse_title_key(key).title)

    def size_max(self, scope: Scope, key: str, *, is_once: bool) -> int:
        """Return the size that is known before a byte is taken in."""
        found = parse_title_key(key)
        _check_scope(scope, found, is_once=is_once)
        if found.kind in ("manifest", "bundle", "slices") and not is_once:
            raise Denied(f"{key} is written once: store it with `If-None-Match: *`")
        return SIZE_MAX[found.kind]

    def is_direct(self, key: str) -> bool:
        """Let bundles go straight into a bucket: they are nearly all of a build's bytes."""
        return parse_title_key(key).kind == "bundle"

    def is_noted(self, key: str) -> bool:
        """Pass over claims: they are renewed all the time, and change nothing."""
        return parse_title_key(key).kind != "claim"

    def writing(self, key: str) -> asyncio.Lock:
        """Return a lock of the title for documents, of the object for others."""
        found = parse_title_key(key)
        is_document = found.kind in ("head", "release", "deltas")
        return self._writing.setdefault(found.title if is_document else key, asyncio.Lock())

    async def check_put(self, scope: Scope, key: str, data: Buffer, *, is_once: bool) -> None:
        """Judge by the rules above."""
        found = parse_title_key(key)
        _check_scope(scope, found, is_once=is_once)
        match found.kind:
            case "manifest" | "bundle":
                await asyncio.to_thread(check_content, found, data)
            case "slices":
                await self._check_slices(found, data)
            case "release" if is_once:
                await self._check_new_release(found, data)
            case "release":
                await self._check_same_release(found, data)
            case "head":
                await self._check_head(scope, found, data)
            case "deltas":
                await self._check_delta_set(found, data)
            case "claim":
                pass  # whoever damages one only keeps its own title waiting

    async def check_delete(self, scope: Scope, keys: Sequence[str]) -> None:
        """Judge by the rules above."""
        found = [parse_title_key(key) for key in keys]
        for each in found:
            _check_scope_of_delete(scope, each)
        for title in {each.title for each in found if each.kind != "claim"}:
            needs = await self._needs.of_channels(title)
            for each in found:
                if each.key in needs.sizes or (
                    each.kind == "deltas" and await self._is_named(each, needs.sizes)
                ):
                    raise Conflict(f"{each.key} is needed by a channel; nothing was deleted")

    async def _check_slices(self, key: TitleKey, data: Buffer) -> None:
        check_content(key, data)
        bundle_key = locations.bundle_key(key.title, key.digest)
        try:
            await self._reader.stat(bundle_key)
        except NotFound as error:
            raise Conflict(f"{bundle_key} is not stored, and comes before its slices") from error

    async def _check_new_release(self, key: TitleKey, data: Buffer) -> None:
        release = _canonical_release(key, data)
        highest = max(await self._counters(key.title), default=0)
        if release.counter != highest + 1:
            raise Conflict(
                f"release {release.counter} of {key.title}: {highest + 1} is the next counter"
            )
        await self._check_complete(release)

    async def _check_same_release(self, key: TitleKey, data: Buffer) -> None:
        release = _canonical_release(key, data)
        for stored in [await self._stored_release(key), *await self._headed(key.title)]:
            if stored == release:
                return
        raise Conflict(f"{key.key} is written once; it may be stored again only as it is")

    async def _check_head(self, scope: Scope, key: TitleKey, data: Buffer) -> None:
        head = parse_head(data, key.title, key.channel)
        if bytes(data) != encode(head):
            raise FormatError(f"{key.key} is not in the one spelling that a head has")
        release = head.release
        release_key = parse_title_key(locations.release_key(key.title, release.counter))
        if await self._stored_release(release_key) != release:
            raise Conflict(f"release {release.counter} of {key.title} is not stored as the head is")
        before = await self._head(key)
        if before is not None and before.release.counter > release.counter:
            raise Conflict(
                f"channel {key.channel} of {key.title} is at release {before.release.counter}: "
                f"consoles refuse to go back to {release.counter}"
            )
        await self._check_vouched(scope, head)
        needs = await self._needs.of_head(head)
        await self._needs.check_stored(key.title, needs, f"channel {key.channel} of {key.title}")

    async def _check_vouched(self, scope: Scope, head: Head) -> None:
        target = await self._witness.head_of(head.title, head.channel)
        what = f"release {head.release.counter} of {head.title}"
        if target is None or target.custom != {
            "publisher": scope.publisher,
            "counter": head.release.counter,
        }:
            raise Denied(f"{what} is not vouched for as what channel {head.channel} plays")
        try:
            target.verify_length_and_hashes(encode(head.release))
        except LengthOrHashMismatchError as error:
            raise Denied(f"{what} is not the one vouched for") from error

    async def _check_delta_set(self, key: TitleKey, data: Buffer) -> None:
        found = parse_delta_set(data, key.title, *key.counters)
        needs = await self._needs.of_delta_set(key.title, found.index, found.manifest)
        await self._needs.check_stored(key.title, needs, f"delta set {key.name} of {key.title}")

    async def _check_complete(self, release: Release) -> None:
        needs = await self._needs.of_build(release.title, release.root)
        what = f"release {release.counter} of {release.title}"
        await self._needs.check_stored(release.title, needs, what)

    async def _counters(self, title: TitleId) -> list[int]:
        prefix = locations.releases_prefix(title)
        names = [stat.key.removeprefix(prefix) async for stat in self._reader.list(prefix)]
        stored = [int(name) for name in names if name.isascii() and name.isdigit()]
        return stored + [release.counter for release in await self._headed(title)]

    async def _headed(self, title: TitleId) -> list[Release]:
        prefix = locations.heads_prefix(title)
        keys = [stat.key async for stat in self._reader.list(prefix)]
        heads = [await self._head(parse_title_key(key)) for key in keys]
        return [head.release for head in heads if head is not None]

    async def _head(self, key: TitleKey) -> Head | None:
        try:
            data = await self._reader.get(key.key, size_max=DOCUMENT_SIZE_MAX)
        except NotFound:
            return None
        return parse_head(data, key.title, key.channel)

    async def _stored_release(self, key: TitleKey) -> Release | None:
        try:
            data = await self._reader.get(key.key, size_max=DOCUMENT_SIZE_MAX)
        except NotFound:
            return None
        return parse_release(data, key.title, key.counter)

    async def _is_named(self, key: TitleKey, needed: dict[str, int | None]) -> bool:
        try:
            data = await self._reader.get(key.key, size_max=DOCUMENT_SIZE_MAX)
            found = parse_delta_set(data, key.title, *key.counters)
        except (NotFound, FormatError):
            return False
        return locations.manifest_key(key.title, found.index.raw_digest) in needed


def _check_scope(scope: Scope, key: TitleKey, *, is_once: bool) -> None:
    match key.kind:
        case "head":
            scope.check_channel(key.title, key.channel)
        case "claim":
            scope.check_title(key.title)
        case "release" if not is_once and "release" in scope.verbs:
            scope.check_title(key.title)  # a channel leaves it, and that is all it says
        case _:
            scope.check_verb("push", key.title)


def _check_scope_of_delete(scope: Scope, key: TitleKey) -> None:
    if key.kind == "claim":
        scope.check_title(key.title)
        return
    scope.check_verb("sweep", key.title)
    if key.kind == "head":
        raise Denied(f"{key.key}: a channel that consoles play is never deleted")


def _canonical_release(key: TitleKey, data: Buffer) -> Release:
    release = parse_release(data, key.title, key.counter)
    if bytes(data) != encode(release):
        raise FormatError(f"{key.key} is not in the one spelling that a release has")
    return release
