"""What the repository of trust says now, read from storage and verified before it is believed.

Whoever signs what it reads must not believe storage: all is checked against the keys that the
trusted root gives to each role, as a console does, expiry apart (what has expired is renewed from).

1. Newer roots than the trusted one, each signed by the one before and by itself.
2. The timestamp, then the snapshot in the version that it names.
3. Targets and release; then bins, shards and publishers as they are asked for, in the versions
   that the snapshot names, each signed by who its delegator says.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from kit.errors import Denied, FormatError, IntegrityError, NotFound
from kit.object_storage import Reader
from manifests.locations import trust_key
from manifests.trust_document import check_signed, parse
from manifests.trust_metadata import role_keys
from manifests.trust_roles import (
    BIN_PREFIX,
    METADATA_SIZE_MAX,
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    shard_role,
)

REMEMBERED_MAX = 1024
"""Delegated roles kept parsed: all bins, all shards and the publishers at work, some 60 MB."""

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True)
class State:
    """The top of the repository at one moment, verified."""

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    release: Targets

    def version_of(self, role: str) -> int | None:
        """Return the version of a role that the snapshot names; None if it says nothing yet."""
        meta = self.snapshot.meta.get(f"{role}.json")
        return None if meta is None else meta.version

    def roles(self) -> list[str]:
        """Return every role below root that the snapshot names."""
        return [name.removesuffix(".json") for name in self.snapshot.meta]


@dataclass(frozen=True, slots=True)
class _Verified:
    """What a role says, and by which keys that was verified: others may be named by now."""

    signed: Targets
    keys: tuple[int, frozenset[str]]


class TrustReader:
    """Reads and verifies; keeps what it verified, as a version never changes."""

    def __init__(self, storage: Reader, anchor: bytes) -> None:
        """``anchor`` is the document of a root that is trusted for being given here."""
        self._storage = storage
        self._anchor = anchor
        self._state: State | None = None
        self._roots: list[Root] = []
        self._delegated: OrderedDict[str, _Verified] = OrderedDict()

    async def state(self, *, amid_rotation: bool = False) -> State:
        """Return what the repository says now.

        Args:
            amid_rotation: Believe a timestamp and a snapshot signed by keys that the newest root
                replaced: so a change of root that was cut off can be finished.

        Raises:
            NotFound: There is no repository.
            Denied: Something is not signed by whom its delegator says.
            FormatError: Something is damaged.
            IntegrityError: A version is not what its delegator names.
        """
        await self._load_roots()
        by = self._roots[-2:] if amid_rotation else self._roots[-1:]
        timestamp = await self._read(TIMESTAMP, None, Timestamp, by)
        before = self._state
        if (
            before is not None
            and before.root is self._roots[-1]
            and before.timestamp.snapshot_meta.version == timestamp.snapshot_meta.version
        ):
            self._state = replace(before, timestamp=timestamp)
            return self._state
        snapshot_version = timestamp.snapshot_meta.version
        snapshot = await self._read(SNAPSHOT, snapshot_version, Snapshot, by)
        targets = await self._read(TARGETS, _version(snapshot, TARGETS), Targets, by)
        release = await self._read(RELEASE, _version(snapshot, RELEASE), Targets, [targets])
        self._state = State(self._roots[-1], timestamp, snapshot, targets, release)
        return self._state

    async def delegated(self, state: State, role: str) -> Targets | None:
        """Return what a role below root says; None if the snapshot does not name it.

        Raises:
            As :meth:`state`.
        """
        if role in (TARGETS, RELEASE):
            return state.targets if role == TARGETS else state.release
        version = state.version_of(role)
        if version is None:
            return None
        by = await self.delegator(state, role)
        known = self._delegated.get(role)
        if known is not None and known.signed.version == version and known.keys == _keys(by, role):
            self._delegated.move_to_end(role)
            return known.signed
        found = await self._read(role, version, Targets, [by])
        self._keep(role, found, by)
        return found

    async def delegator(self, state: State, role: str) -> Targets:
        """Return the role that says who signs for ``role``, which is below ``targets``.

        Raises:
            NotFound: The publisher's shard says nothing yet.
        """
        if role.startswith(f"{BIN_PREFIX}-"):
            return state.release
        if not role.startswith("publisher-"):
            return state.targets
        publisher = PublisherId(role.removeprefix("publisher-"))
        shard = await self.delegated(state, shard_role(publisher))
        if shard is None:
            raise NotFound(f"publisher {publisher} is not enrolled: no shard names it")
        return shard

    async def document(self, role: str, version: int) -> bytes:
        """Return a version of what a role signed, as it is stored; *not verified*.

        Raises:
            NotFound: It is not stored.
        """
        return await self._storage.get(trust_key(role, version), size_max=METADATA_SIZE_MAX)

    def remember(self, state: State, said: Mapping[str, Targets]) -> None:
        """Take in what the writer of the repository made of it: it need not be read again."""
        if not self._roots or self._roots[-1] is state.root:
            self._state = state
        for role, signed in said.items():
            by: Targets | None = state.targets
            if role.startswith(f"{BIN_PREFIX}-"):
                by = state.release
            elif role.startswith("publisher-"):
                shard = shard_role(PublisherId(role.removeprefix("publisher-")))
                known = self._delegated.get(shard)
                by = said.get(shard, None if known is None else known.signed)
            if by is not None:
                self._keep(role, signed, by)

    def _keep(self, role: str, signed: Targets, by: Targets) -> None:
        self._delegated[role] = _Verified(signed, _keys(by, role))
        self._delegated.move_to_end(role)
        while len(self._delegated) > REMEMBERED_MAX:
            self._delegated.popitem(last=False)

    async def _load_roots(self) -> None:
        if not self._roots:
            anchor = await asyncio.to_thread(parse, self._anchor, Root, ROOT)
            check_signed(ROOT, anchor, anchor.signed)
            self._roots.append(anchor.signed)
        while True:
            newest = self._roots[-1]
            try:
                data = await self.document(ROOT, newest.version + 1)
            except NotFound:
                return
            self._roots.append(await asyncio.to_thread(_next_root, data, newest))
            del self._roots[:-2]

    async def _read(
        self, role: str, version: int | None, kind: type[S], by: Sequence[Root | Targets]
    ) -> S:
        key = trust_key(role, version)
        data = await self._storage.get(key, size_max=METADATA_SIZE_MAX)
        return await asyncio.to_thread(_verified, data, role, version, kind, by)


def _verified(
    data: bytes, role: str, version: int | None, kind: type[S], by: Sequence[Root | Targets]
) -> S:
    found = parse(data, kind, role)
    *older, newest = by
    try:
        check_signed(role, found, newest)
    except Denied:
        if not older:
            raise
        check_signed(role, found, older[0])
    if version is not None and found.signed.version != version:
        raise IntegrityError(f"{trust_key(role, version)} holds version {found.signed.version}")
    return found.signed


def _next_root(data: bytes, before: Root) -> Root:
    found = parse(data, Root, ROOT)
    check_signed(ROOT, found, before)
    check_signed(ROOT, found, found.signed)
    if found.signed.version != before.version + 1:
        raise IntegrityError(f"root {before.version + 1} says it is version {found.signed.version}")
    return found.signed


def _keys(by: Targets, role: str) -> tuple[int, frozenset[str]]:
    keys = role_keys(by, role)
    return keys.threshold, frozenset(key.keyid for key in keys.keys)


def _version(snapshot: Snapshot, role: str) -> int:
    meta = snapshot.meta.get(f"{role}.json")
    if meta is None:
        raise FormatError(f"snapshot {snapshot.version} does not name {role}")
    return meta.version
