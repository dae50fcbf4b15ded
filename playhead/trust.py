"""This machine's part in trust: its key folder, the registry in its storage, and who vouches.

Embedded, all of it is made by whoever needs it first: keys below ``data/keys``, the repository in
storage, and a title's enrolment with its first push.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from kit.clock import Clock, SystemClock
from kit.errors import Denied, NotFound, SettingsError
from kit.object_storage import ObjectStorage
from kit.storage_lock import LockSettings, StorageLock
from kit.telemetry import get_logger
from kit.units import Seconds
from manifests.documents import Release
from manifests.locations import trust_key, trust_lock_prefix
from manifests.names import Channel, TitleId
from manifests.trust_metadata import BIN_BITS, RoleKeys
from manifests.trust_roles import TIMESTAMP, PublisherId
from origin.registry import Registry
from playhead.keys.folder import LOCAL, KeyFolder
from playhead.settings import Settings

TRUST_LOCK = LockSettings(look_every=Seconds(0.05))
"""A commit takes milliseconds on a disk and some 100 ms on S3: looking twice a second would make
publishers wait longer for each other than they work."""

log = get_logger("trust")

Say = Callable[[str], None]


def key_folder(settings: Settings) -> KeyFolder:
    """Return the key folder that the settings name."""
    return KeyFolder(settings.data / settings.keys.dir, settings.keys.hsm_pin)


async def open_registry(
    folder: KeyFolder, storage: ObjectStorage, say: Say, clock: Clock | None = None
) -> Registry:
    """Return the registry of ``storage``; on first use, make keys and repository, and say so.

    Raises:
        SettingsError: The storage is vouched for by keys that this machine has not.
        Conflict: It is vouched for by other keys than those here.
    """
    clock = clock or SystemClock()
    if not await asyncio.to_thread(lambda: folder.is_made):
        if await is_begun(storage):
            raise SettingsError(
                f"what is stored is vouched for by keys that are not in {folder.path}: copy that "
                "folder from the machine that has it, or publish through the origin"
            )
        if await asyncio.to_thread(folder.make, clock.now()):
            say(f"made keys in {folder.path}: keep a copy of it, offline")
    registry = registry_of(folder, storage, await asyncio.to_thread(folder.root), clock)
    first_targets = await asyncio.to_thread(folder.first_targets)
    await registry.begin(first_targets, bin_bits=BIN_BITS)
    return registry


async def registry_for_renewal(settings: Settings, storage: ObjectStorage) -> Registry | None:
    """Return the registry that an origin keeps fresh; None if its keys are not on this machine."""
    folder = key_folder(settings)
    if await is_begun(storage) and not await asyncio.to_thread(lambda: folder.is_made):
        return None
    return await open_registry(folder, storage, lambda text: log.warning("keys.made", text=text))


def registry_of(
    folder: KeyFolder, storage: ObjectStorage, anchor: bytes, clock: Clock | None = None
) -> Registry:
    """Return the registry of ``storage`` whose online keys are in ``folder``."""
    clock = clock or SystemClock()

    def new_lock() -> StorageLock:
        return StorageLock(
            storage,
            trust_lock_prefix(),
            "the repository of trust",
            clock=clock,
            settings=TRUST_LOCK,
            command=shlex.join(sys.argv),
        )

    return Registry(storage, anchor, online=folder.online, new_lock=new_lock, clock=clock)


async def is_begun(storage: ObjectStorage) -> bool:
    """Tell whether a repository of trust is stored."""
    try:
        await storage.stat(trust_key(TIMESTAMP))
    except NotFound:
        return False
    return True


class LocalVoucher:
    """Vouches with the keys of this machine, both the publisher's and the platform's."""

    def __init__(self, folder: KeyFolder, storage: ObjectStorage, say: Say) -> None:
        self._folder = folder
        self._storage = storage
        self._say = say
        self._registry: Registry | None = None

    async def registry(self) -> Registry:
        """Return the registry, opened once."""
        if self._registry is None:
            self._registry = await open_registry(self._folder, self._storage, self._say)
        return self._registry

    async def vouch(self, release: Release, channel: Channel) -> None:
        """Return once both vouch for ``release``; a title that is nobody's is enrolled.

        Raises:
            Denied: It is the title of a publisher whose key is elsewhere.
        """
        registry = await self.registry()
        publisher = await self._publisher_of(registry, release.title)
        ring = await asyncio.to_thread(self._folder.keyring)
        entry = ring.publishers.get(publisher)
        if entry is None:
            raise Denied(
                f"title {release.title} is publisher {publisher}'s, whose key is not in "
                f"{self._folder.path}: publish through the origin (`playhead login`)"
            )
        signer = await asyncio.to_thread(self._folder.signer, entry)
        await registry.vouch(publisher, signer, release, channel)

    async def doubt(self, release: Release, channel: Channel) -> str | None:
        """Return why consoles would refuse the release; makes nothing."""
        if not await is_begun(self._storage):
            return "nothing is vouched for here yet: the next push or promote sees to that"
        try:
            anchor = await asyncio.to_thread(self._folder.root)
        except NotFound:
            return f"{self._folder.path} holds no trusted root to tell it by"
        return await registry_of(self._folder, self._storage, anchor).doubt(release, channel)

    async def _publisher_of(self, registry: Registry, title: TitleId) -> PublisherId:
        ring = await asyncio.to_thread(self._folder.keyring)
        for name in ring.publishers:
            if await registry.is_enrolled(title, PublisherId(name)):
                return PublisherId(name)
        try:
            return await registry.publisher_of(title)
        except NotFound:
            pass
        if LOCAL not in ring.publishers:
            raise Denied(
                f"title {title} is enrolled for no publisher: `playhead keys add-holder "
                f"--publisher NAME --title {title}`"
            )
        keys = RoleKeys((ring.publishers[LOCAL].key,))
        holders = await asyncio.to_thread(self._folder.holders)
        try:
            await registry.enrol(LOCAL, keys, [title], holders)
        except Denied as error:
            raise Denied(
                f"title {title} is new and more holders than are here must sign whose it is: "
                f"`playhead keys add-holder --publisher {LOCAL} --title {title}` begins that"
            ) from error
        return LOCAL


def trusted_root_path(settings: Settings) -> Path:
    """Return where the root is that a console of this machine trusts."""
    return key_folder(settings).path / "root.json"
