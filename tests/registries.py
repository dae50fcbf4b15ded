"""A registry over any storage, with keys of its own, and a stock client that reads the storage."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from tempfile import TemporaryDirectory

from securesystemslib.signer import Signer
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from kit.clock import Clock, ManualClock
from kit.object_storage import ObjectStorage
from kit.object_storage.testing import MemoryStorage
from manifests.documents import Release, encode
from manifests.locations import TRUST_PREFIX, release_key
from manifests.names import Channel, TitleId
from manifests.trust_document import sign
from manifests.trust_metadata import root_with, targets_with
from manifests.trust_roles import (
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    build_path,
    head_path,
)
from origin.group_commit import HeldLock, NewLock
from origin.registry import Registry
from tests.trust_repository import (
    BASE,
    NOW_S,
    FileFetcher,
    keys_of,
    offline_signer,
    online_signer,
)

LIVE = Channel("live")


class Held:
    """A lock that nobody contends for."""

    async def check_held(self) -> None:
        """Do nothing."""


def unlocked() -> AbstractAsyncContextManager[HeldLock]:
    return nullcontext(Held())


@dataclass
class Keys:
    """Everybody's keys."""

    holders: list[Signer] = field(default_factory=lambda: [offline_signer()])
    online: dict[str, list[Signer]] = field(
        default_factory=lambda: {role: [online_signer()] for role in (TIMESTAMP, SNAPSHOT, RELEASE)}
    )
    publishers: dict[str, Signer] = field(default_factory=dict)

    def publisher(self, name: str) -> Signer:
        return self.publishers.setdefault(name, offline_signer())

    def root(self, now_s: float = NOW_S) -> bytes:
        roles = {role: keys_of(*self.online[role]) for role in (TIMESTAMP, SNAPSHOT)}
        roles |= {role: keys_of(*self.holders) for role in (ROOT, TARGETS)}
        return sign(root_with(None, roles, now_s), self.holders)

    def targets(self, now_s: float = NOW_S) -> bytes:
        shards, release = keys_of(*self.holders), keys_of(*self.online[RELEASE])
        return sign(targets_with(None, shards=shards, release=release, now_s=now_s), self.holders)


@dataclass
class TestBed:
    """A registry, what it stands on, and what a test does with it in one line."""

    __test__ = False

    keys: Keys = field(default_factory=Keys)
    clock: Clock = field(default_factory=lambda: ManualClock(NOW_S))
    memory: MemoryStorage = field(default_factory=MemoryStorage)
    anchor: bytes = b""

    def __post_init__(self) -> None:
        self.anchor = self.anchor or self.keys.root(self.clock.now())
        self.first_targets = self.keys.targets(self.clock.now())

    def registry(
        self, storage: ObjectStorage | None = None, *, new_lock: NewLock | None = None
    ) -> Registry:
        """Return a new one: as a process that was just started has it."""
        return Registry(
            storage or self.memory,
            self.anchor,
            online=lambda: self.keys.online,
            new_lock=new_lock or unlocked,
            clock=self.clock,
        )

    async def begun(self) -> Registry:
        registry = self.registry()
        await registry.begin(self.first_targets, bin_bits=4)
        return registry

    async def enrol(self, registry: Registry, publisher: str, *titles: str) -> None:
        await registry.enrol(
            PublisherId(publisher),
            keys_of(self.keys.publisher(publisher)),
            [TitleId(title) for title in titles],
            self.keys.holders,
        )

    async def vouch(
        self, registry: Registry, publisher: str, release: Release, channel: Channel = LIVE
    ) -> None:
        await self.store(release)
        await registry.vouch(
            PublisherId(publisher), self.keys.publisher(publisher), release, channel
        )

    async def store(self, release: Release) -> None:
        key = release_key(release.title, release.counter)
        await self.memory.put(key, encode(release))

    def client(self) -> StockClient:
        return StockClient(self.memory, self.anchor, self.clock)


class StockClient:
    """The library's own client, unmodified but for its time, over a storage in memory."""

    def __init__(self, memory: MemoryStorage, root: bytes, clock: Clock) -> None:
        self._folder = TemporaryDirectory()
        self._memory = memory
        self._root: bytes | None = root
        self._clock = clock
        self.refreshed()

    def refreshed(self) -> Updater:
        """Return an updater that has seen the newest state, and remembers what it saw before."""
        updater = Updater(
            self._folder.name, BASE, fetcher=FileFetcher(self._get), bootstrap=self._root
        )
        self._root = None
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        updater._trusted_set.reference_time = now
        updater.refresh()
        return updater

    def head(self, title: str, channel: Channel = LIVE) -> TargetFile | None:
        return self.refreshed().get_targetinfo(head_path(TitleId(title), channel))

    def believes(self, publisher: str, release: Release, channel: Channel = LIVE) -> bool:
        """Tell whether both witnesses name this release."""
        updater = self.refreshed()
        head = updater.get_targetinfo(head_path(release.title, channel))
        path = build_path(PublisherId(publisher), release.title, release.counter)
        build = updater.get_targetinfo(path)
        if head is None or build is None:
            return False
        for target in (head, build):
            target.verify_length_and_hashes(encode(release))
        return bool(head.custom == {"publisher": publisher, "counter": release.counter})

    def close(self) -> None:
        self._folder.cleanup()

    def _get(self, name: str) -> bytes | None:
        found = self._memory._objects.get(TRUST_PREFIX + name)
        return None if found is None else found[0]
