"""The platform's repository of trust: what it accepts, and how it says so to consoles.

One writer at a time, by a lock in storage: whoever has the online keys. Publications that arrive
while one is being committed wait, and are committed together after it: the snapshot is signed once
for all of them.

What a publisher signs, it hands in (:meth:`Registry.accept`) or, if its key is here, has signed for
it (:meth:`Registry.vouch`). What needs holders of offline keys arrives signed by them
(:meth:`Registry.install`). Every call may be made again: what is said already is not said twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from securesystemslib.signer import Signer
from tuf.api.metadata import Root, TargetFile, Targets

from kit.clock import Clock
from kit.concurrency import for_each, to_its_end
from kit.errors import Conflict, Denied, FormatError, IntegrityError, NotFound
from kit.object_storage import ObjectStorage
from manifests.documents import DOCUMENT_SIZE_MAX, Release, encode
from manifests.locations import release_key, trust_key
from manifests.names import Channel, TitleId
from manifests.trust_document import check_signed, parse, sign
from manifests.trust_expiry import is_due
from manifests.trust_metadata import (
    RoleKeys,
    build_target,
    head_target,
    publishers_of,
    role_keys,
    shard_with,
    titles_of,
    vouched,
)
from manifests.trust_roles import (
    BIN_PREFIX,
    RELEASE,
    ROOT,
    SNAPSHOT,
    TIMESTAMP,
    PublisherId,
    head_path,
    publisher_role,
    shard_role,
    shard_roles,
)
from origin.beginning import Beginning
from origin.doubt import find_doubt
from origin.draft import Draft, is_named
from origin.group_commit import GroupCommit, HeldLock, NewLock, NewSigners
from origin.installation import Installation, check_next_root
from origin.submission import check_title, submitted
from origin.trust_reader import State, TrustReader
from origin.trust_sweep import sweep_trust

READS_AT_ONCE = 16
"""Shards are a few kB: sixteen make 128 of them eight round trips to S3."""


class Registry:
    """Reads and writes ``trust/`` in ``storage``. Belongs to one event loop."""

    def __init__(
        self,
        storage: ObjectStorage,
        anchor: bytes,
        *,
        online: NewSigners,
        new_lock: NewLock,
        clock: Clock,
    ) -> None:
        """Take storage, the trusted root, and what returns the platform's own keys and a lock."""
        self._storage = storage
        self._anchor = anchor
        self._online = online
        self._clock = clock
        self._reader = TrustReader(storage, anchor)
        self._commits = GroupCommit(
            storage, self._reader, online=online, new_lock=new_lock, clock=clock
        )

    async def sweep(self) -> int:
        """Delete metadata that was superseded so long ago that nobody asks for it; return how many.

        Nobody else need be kept out: what is deleted no later state names either.
        """
        return await sweep_trust(self._storage, await self._reader.state())

    async def publisher_of(self, title: TitleId) -> PublisherId:
        """Return whose title it is.

        Raises:
            NotFound: It is enrolled for nobody.
        """
        found = await owner_of(self._draft(await self._reader.state()), title)
        if found is None:
            raise NotFound(f"title {title} is enrolled for no publisher")
        return found

    async def is_enrolled(self, title: TitleId, publisher: PublisherId) -> bool:
        """Tell whether the title is this publisher's; reads one shard."""
        shard = await self.said(shard_role(publisher))
        return shard is not None and title in titles_of(shard, publisher)

    async def publisher_metadata(self, publisher: PublisherId) -> bytes | None:
        """Return what the publisher signed last, to sign the next version on top of.

        None: it has vouched for nothing yet, and signs version 1.

        Raises:
            NotFound: No such publisher is enrolled.
        """
        state = await self._reader.state()
        role = publisher_role(publisher)
        await self._reader.delegator(state, role)
        version = state.version_of(role)
        return None if version is None else await self._reader.document(role, version)

    async def state(self) -> State:
        """Return what the repository says now, at the top.

        Raises:
            NotFound: There is no repository.
            Denied, FormatError, IntegrityError: What is stored is not to be believed.
        """
        return await self._reader.state()

    async def said(self, role: str) -> Targets | None:
        """Return what a role below ``targets`` says now; None if it says nothing yet."""
        return await self._reader.delegated(await self._reader.state(), role)

    async def delegator(self, role: str) -> Targets:
        """Return who says by which keys a bin, shard or publisher signs."""
        return await self._reader.delegator(await self._reader.state(), role)

    async def document(self, role: str, version: int) -> bytes:
        """Return a version of what a role signed, as it is stored; *not verified*.

        Raises:
            NotFound: It is not stored.
        """
        return await self._reader.document(role, version)

    async def head_of(self, title: TitleId, channel: Channel) -> TargetFile | None:
        """Return what the platform says of a channel now; None if nothing."""
        state = await self._reader.state()
        return await self._draft(state).head(head_path(title, channel))

    async def doubt(self, release: Release, channel: Channel) -> str | None:
        """Return why consoles would refuse this release as what a channel plays; None: they do not.

        Raises:
            NotFound: There is no repository.
            Unavailable: The storage did not answer.
        """
        try:
            state = await self._reader.state()
            return await find_doubt(self._reader, state, release, channel, self._clock.now())
        except (Denied, FormatError, IntegrityError) as error:
            return str(error)

    async def begin(self, targets: bytes, *, bin_bits: int) -> None:
        """Make a repository out of the trusted root and ``targets``, both signed by their holders.

        Cut off, the same call finishes; if there is a repository it does nothing.

        Raises:
            Conflict: There is one whose first root is another.
        """
        beginning = Beginning(self._storage, self._anchor, targets, bin_bits)
        if await beginning.is_done():
            return
        async with self._commits.alone() as lock:
            if not await beginning.is_done():
                online = await asyncio.to_thread(self._online)
                await beginning.make(online, lock.check_held, self._clock.now())

    async def enrol(
        self,
        publisher: PublisherId,
        keys: RoleKeys,
        titles: Iterable[TitleId],
        holders: Sequence[Signer],
    ) -> None:
        """Give titles to a publisher, besides those it has, and let it sign with these keys.

        Raises:
            Conflict: A title is another publisher's.
            Denied: Fewer of the shards' holders sign than must.
        """
        added = list(titles)

        async def change(draft: Draft) -> None:
            for title in added:
                owner = await owner_of(draft, title)
                if owner not in (None, publisher):
                    raise Conflict(f"title {title} is enrolled for publisher {owner}")
            role = shard_role(publisher)
            before = await draft.said(role)
            have = [] if before is None else titles_of(before, publisher)
            if (
                before is not None
                and set(added) <= set(have)
                and role_keys(before, publisher_role(publisher)) == keys
            ):
                return
            signed = shard_with(before, publisher, keys, [*have, *added], draft.now_s)
            document = await asyncio.to_thread(sign, signed, holders)
            check_signed(role, parse(document, Targets, role), draft.state.targets)
            draft.say(role, signed, document)

        await self._commits.commit(change)

    async def accept(
        self, publisher: PublisherId, signed: bytes, release: Release, channel: Channel
    ) -> None:
        """Let a channel play a release that its publisher vouches for by ``signed``.

        The rules are those of ``submission.py``; then those of the platform:

        6. The release document is stored, as it was signed.
        7. Its counter is not below that of the release that the channel plays.

        Raises:
            Denied: The title is not the publisher's, or its keys did not sign.
            Stale: It builds on what is not the newest.
            InvalidInput, FormatError: It says what it must not.
            Conflict: The channel plays a newer release.
            NotFound, IntegrityError: The release is not stored, or is another.
        """

        async def change(draft: Draft) -> None:
            await self._check_stored(release)
            role = publisher_role(publisher)
            shard = check_title(await draft.said(shard_role(publisher)), publisher, release.title)
            before = await draft.said(role)
            said = await asyncio.to_thread(
                submitted,
                signed,
                publisher,
                release,
                shard=shard,
                before=before,
                now_s=draft.now_s,
            )
            target = await self._next_head(draft, publisher, release, channel)
            if said is not None:
                draft.say(role, said, signed)
            if target is not None:
                draft.point(target)

        await self._commits.commit(change)

    async def vouch(
        self, publisher: PublisherId, signer: Signer, release: Release, channel: Channel
    ) -> None:
        """Let publisher and platform vouch for a channel's release, with both keys at hand.

        If both do already, nothing is written and no lock taken.

        Raises:
            As :meth:`accept`.
        """

        if await self._is_vouched(publisher, release, channel):
            return

        async def change(draft: Draft) -> None:
            await self._check_stored(release)
            role = publisher_role(publisher)
            shard = check_title(await draft.said(shard_role(publisher)), publisher, release.title)
            before = await draft.said(role)
            target = await self._next_head(draft, publisher, release, channel)
            said = vouched(before, publisher, [release], draft.now_s)
            if before is None or said.targets != before.targets:
                document = await asyncio.to_thread(_signed_for, role, said, signer, shard)
                draft.say(role, said, document)
            if target is not None:
                draft.point(target)

        await self._commits.commit(change)

    async def install(self, documents: Mapping[str, bytes]) -> None:
        """Let roles say what their holders signed: root, targets, shards, publishers.

        All below root is committed at once, and must be believed by the old root as by the new,
        which comes last. What the platform signs is signed anew where its keys are replaced.

        While an online key is replaced this machine should have both: then what it signs is
        believed by consoles that have the new root and by those that have not. If the old one is
        lost, consoles wait until this call ends.

        Cut off, the same call finishes.

        Raises:
            Denied: Something is not signed by whom its delegator says, or would not be any more.
            Conflict: A version is not the next one: it was made before another change.
        """
        below = {role: data for role, data in documents.items() if role != ROOT}
        if below:

            async def change(draft: Draft) -> None:
                await Installation(self._reader, draft, below).run()

            await self._commits.commit(change)
        if ROOT in documents:
            await to_its_end(self._install_root(documents[ROOT]))

    async def renew(self) -> list[str]:
        """Sign anew what the platform signs and what expires soon; return those roles.

        The timestamp is signed hourly, if asked so often.

        Raises:
            Conflict: Somebody else is writing.
        """
        renewed = await due_roles(self._draft(await self._reader.state()))
        if not renewed:
            return []

        async def change(draft: Draft) -> None:
            renewed[:] = await due_roles(draft)
            for role in renewed:
                draft.renew(role)

        await self._commits.commit(change)
        return renewed

    def _draft(self, state: State) -> Draft:
        return Draft(self._reader, state, self._clock.now())

    async def _is_vouched(self, publisher: PublisherId, release: Release, channel: Channel) -> bool:
        draft = self._draft(await self._reader.state())
        shard = await draft.said(shard_role(publisher))
        if shard is None or release.title not in titles_of(shard, publisher):
            return False
        said = await draft.said(publisher_role(publisher))
        build, head = build_target(publisher, release), head_target(publisher, release, channel)
        return (
            said is not None
            and said.targets.get(build.path) == build
            and await draft.head(head.path) == head
        )

    async def _install_root(self, document: bytes) -> None:
        async with self._commits.alone() as lock:
            state = await self._reader.state(amid_rotation=True)
            root = parse(document, Root, ROOT)
            if root.signed.version > state.root.version:
                await check_next_root(self._reader, state, root)
                online = await asyncio.to_thread(self._online)
                if all(is_named(state.root, role, online) for role in (TIMESTAMP, SNAPSHOT)):
                    await self._touch(lock, state)
                await lock.check_held()
                await self._storage.put_if_absent(trust_key(ROOT, root.signed.version), document)
            if await self._reader.document(ROOT, root.signed.version) != document:
                raise Conflict(f"root {root.signed.version} is another one: make the change again")
            await self._touch(lock, await self._reader.state(amid_rotation=True))

    async def _touch(self, lock: HeldLock, state: State) -> None:
        draft = self._draft(state)
        draft.renew(TIMESTAMP)
        online = await asyncio.to_thread(self._online)
        await draft.store(self._storage, online, lock.check_held)

    async def _check_stored(self, release: Release) -> None:
        key = release_key(release.title, release.counter)
        if await self._storage.get(key, size_max=DOCUMENT_SIZE_MAX) != encode(release):
            raise IntegrityError(f"{key} is another release than the one vouched for")

    async def _next_head(
        self, draft: Draft, publisher: PublisherId, release: Release, channel: Channel
    ) -> TargetFile | None:
        """Return what to say of the channel; None if that is said already."""
        target = head_target(publisher, release, channel)
        before = await draft.head(target.path)
        if before == target:
            return None
        if before is not None and counter_of(before) >= release.counter:
            raise Conflict(
                f"channel {channel} of {release.title} is vouched for at release "
                f"{counter_of(before)}: release {release.counter} would take consoles back"
            )
        return target


def counter_of(head: TargetFile) -> int:
    """Return the counter of the release that a head path vouches for."""
    counter = head.custom["counter"]
    assert isinstance(counter, int)
    return counter


def _signed_for(role: str, said: Targets, signer: Signer, shard: Targets) -> bytes:
    document = sign(said, [signer])
    check_signed(role, parse(document, Targets, role), shard)
    return document


async def due_roles(draft: Draft) -> list[str]:
    """Return the roles of the platform that are to be signed anew."""
    state = draft.state
    tops = {TIMESTAMP: state.timestamp, SNAPSHOT: state.snapshot, RELEASE: state.release}
    due = [role for role, said in tops.items() if is_due(role, said, draft.now_s)]
    for role in state.roles():
        if role.startswith(f"{BIN_PREFIX}-"):
            said = await draft.said(role)
            if said is not None and is_due(role, said, draft.now_s):
                due.append(role)
    return due


async def owner_of(draft: Draft, title: TitleId) -> PublisherId | None:
    """Return the publisher that a title is enrolled for; reads every shard that says anything."""
    shards = await for_each(shard_roles(), draft.said, at_once=READS_AT_ONCE)
    for shard in shards:
        for publisher in [] if shard is None else publishers_of(shard):
            if shard is not None and title in titles_of(shard, publisher):
                return publisher
    return None
