"""The next state of the repository of trust, before any of it is stored.

A draft collects what several publications change, so that they are committed together. What bins
say is signed once, when the draft is stored; what publishers and holders say arrives signed.

Order of writes, and why a crash at any of them does no harm:

1. What roles say, each under a version never used before: no snapshot names it yet.
2. The snapshot, under a version that no timestamp names yet.
3. The timestamp: the commit.

A version that a crash left behind is not used again, since an edge may have cached it: platform
roles take the next one. What publishers and holders signed has a version of theirs; if that is
taken by something they signed, the draft *adopts* it, to be committed, and says so.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Snapshot, TargetFile, Targets, Timestamp

from kit.concurrency import for_each
from kit.errors import Denied, FormatError, SettingsError
from kit.object_storage import ObjectStorage
from manifests.locations import trust_key
from manifests.trust_document import check_signed, parse, sign
from manifests.trust_metadata import (
    again,
    bin_of,
    pointed,
    role_keys,
    snapshot_with,
    timestamp_with,
)
from manifests.trust_roles import (
    METADATA_SIZE_MAX,
    RELEASE,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    shard_role,
)
from origin.trust_reader import State, TrustReader

WRITES_AT_ONCE = 8
"""Metadata is a few kB: eight hide S3's latency."""

OnlineSigners = Mapping[str, Sequence[Signer]]
"""The platform's own keys: of ``timestamp``, ``snapshot`` and ``release``. While one replaces
another both sign, so who believes either believes what is signed."""


class Draft:
    """Changes to ``state``, which was read under the registry's lock."""

    def __init__(self, reader: TrustReader, state: State, now_s: float) -> None:
        self.state = state
        """As it will be: what is changed at the top is replaced here at once."""
        self.now_s = now_s
        self._base = state
        self._reader = reader
        self._signed: dict[str, tuple[Targets, bytes]] = {}
        self._heads: defaultdict[str, dict[str, TargetFile]] = defaultdict(dict)
        self._renewed: set[str] = set()
        self._is_touched = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self._signed or self._heads or self._renewed or self._is_touched)

    async def said(self, role: str) -> Targets | None:
        """Return what ``targets`` or a role below it says, heads that were just pointed apart."""
        if role in self._signed:
            return self._signed[role][0]
        if role in (TARGETS, RELEASE):
            return self.state.targets if role == TARGETS else self.state.release
        return await self._reader.delegated(self._base, role)

    async def head(self, path: str) -> TargetFile | None:
        """Return what the platform says of a channel."""
        bin_role = bin_of(self.state.release, path)
        if path in self._heads.get(bin_role, {}):
            return self._heads[bin_role][path]
        found = await self._reader.delegated(self._base, bin_role)
        return None if found is None else found.targets.get(path)

    def say(self, role: str, signed: Targets, document: bytes) -> None:
        """Let ``role`` say what its own keys signed: targets, a shard or a publisher."""
        self._signed[role] = (signed, document)
        if role == TARGETS:
            self.state = replace(self.state, targets=signed)

    def point(self, target: TargetFile) -> None:
        """Let the platform say this of a channel."""
        self._heads[bin_of(self.state.release, target.path)][target.path] = target

    def renew(self, role: str) -> None:
        """Sign once more what a role of the platform says: timestamp, snapshot, release, a bin."""
        if role in (TIMESTAMP, SNAPSHOT):
            self._is_touched = True
        elif role == RELEASE:
            self.replace_release(again(RELEASE, self.state.release, self.now_s))
        else:
            self._renewed.add(role)

    def replace_release(self, release: Targets) -> None:
        """Let the release role say this, to be signed by the platform."""
        self.state = replace(self.state, release=release)
        self._renewed.add(RELEASE)

    async def store(
        self,
        storage: ObjectStorage,
        online: OnlineSigners,
        before_commit: Callable[[], Awaitable[None]],
    ) -> list[str]:
        """Store everything, the timestamp last; return roles whose left-over was adopted.

        If it returns any, what their owners wanted to say is not in it: try it again on top.
        Whatever is raised, the former state is valid or this one is.
        """
        self._check_signers(online)
        adopted = await self._store_signed(storage)
        said = {role: signed for role, (signed, _) in self._signed.items()}
        bins = (
            [] if adopted else sorted({*self._renewed, *(b for b, h in self._heads.items() if h)})
        )
        stored = await for_each(
            bins, lambda role: self._store_own(storage, role, online), at_once=WRITES_AT_ONCE
        )
        said |= dict(zip(bins, stored, strict=True))
        versions = {role: signed.version for role, signed in said.items()}
        snapshot = await self._store_snapshot(storage, versions, online[SNAPSHOT])
        timestamp = timestamp_with(self._base.timestamp, snapshot.version, self.now_s)
        document = await asyncio.to_thread(sign, timestamp, online[TIMESTAMP])
        await before_commit()
        await storage.put(trust_key(TIMESTAMP), document)
        self._remember(snapshot, timestamp, said)
        return adopted

    def _check_signers(self, online: OnlineSigners) -> None:
        root, targets = self.state.root, self.state.targets
        by: dict[str, Root | Targets] = {TIMESTAMP: root, SNAPSHOT: root, RELEASE: targets}
        for role, delegator in by.items():
            if not is_named(delegator, role, online):
                named = sorted(key.keyid[:12] for key in role_keys(delegator, role).keys)
                raise SettingsError(
                    f"the key that this machine has for role {role} is not one that the "
                    f"repository names ({', '.join(named)}): see `playhead keys doctor`"
                )

    async def _store_signed(self, storage: ObjectStorage) -> list[str]:
        adopted = []
        for role, (signed, document) in list(self._signed.items()):
            key = trust_key(role, signed.version)
            if await storage.put_if_absent(key, document):
                continue
            found = await storage.get(key, size_max=METADATA_SIZE_MAX)
            if found == document:
                continue
            left = await self._left_over(role, signed.version, found)
            if left is None:
                await storage.put(key, document)
            else:
                self._signed[role] = (left, found)
                adopted.append(role)
        if adopted:
            self._signed = {role: self._signed[role] for role in adopted}
        return adopted

    async def _left_over(self, role: str, version: int, data: bytes) -> Targets | None:
        """Return what a commit that was cut off left of ``role``, if its delegator stands by it.

        Never beside new targets: holders hand in the same documents again until they are in.
        """
        if TARGETS in self._signed:
            return None
        by: Targets | None = self.state.targets
        if role.startswith("publisher-"):
            by = await self.said(shard_role(PublisherId(role.removeprefix("publisher-"))))
        assert by is not None
        try:
            found = await asyncio.to_thread(parse, data, Targets, role)
            await asyncio.to_thread(check_signed, role, found, by)
        except (FormatError, Denied):  # nobody believes it
            return None
        return found.signed if found.signed.version == version else None

    async def _store_own(self, storage: ObjectStorage, role: str, online: OnlineSigners) -> Targets:
        if role == RELEASE:
            signed = self.state.release
        else:
            before = await self._reader.delegated(self._base, role)
            heads = self._heads.get(role, {})
            assert heads or before is not None
            signed = (
                pointed(before, role, heads.values(), self.now_s)
                if heads or before is None
                else again(role, before, self.now_s)
            )
        await self._store_fresh(storage, role, signed, online[RELEASE])
        return signed

    async def _store_snapshot(
        self, storage: ObjectStorage, versions: Mapping[str, int], signers: Sequence[Signer]
    ) -> Snapshot:
        snapshot = snapshot_with(self._base.snapshot, versions, self.now_s)
        await self._store_fresh(storage, SNAPSHOT, snapshot, signers)
        return snapshot

    async def _store_fresh(
        self,
        storage: ObjectStorage,
        role: str,
        signed: Targets | Snapshot,
        signers: Sequence[Signer],
    ) -> None:
        """Store ``signed`` under its version, or the next that is not used."""
        while True:
            document = await asyncio.to_thread(sign, signed, signers)
            key = trust_key(role, signed.version)
            if await storage.put_if_absent(key, document):
                return
            # An answer that was lost and asked for again says "not stored".
            if await storage.get(key, size_max=METADATA_SIZE_MAX) == document:
                return
            signed.version += 1

    def _remember(
        self, snapshot: Snapshot, timestamp: Timestamp, said: Mapping[str, Targets]
    ) -> None:
        self.state = replace(
            self.state,
            snapshot=snapshot,
            timestamp=timestamp,
            targets=said.get(TARGETS, self._base.targets),
            release=said.get(RELEASE, self._base.release),
        )
        top = (TARGETS, RELEASE)
        below = {role: signed for role, signed in said.items() if role not in top}
        self._reader.remember(self.state, below)


def is_named(by: Root | Targets, role: str, online: OnlineSigners) -> bool:
    """Tell whether one of the signers at hand has a key that ``by`` gives to ``role``."""
    named = {key.keyid for key in role_keys(by, role).keys}
    return bool(named & {signer.public_key.keyid for signer in online.get(role, ())})
