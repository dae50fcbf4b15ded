"""One writer per title: whoever pushes, promotes, rolls back or sweeps holds its lock."""

from __future__ import annotations

from collections.abc import Callable

from kit.clock import Clock
from kit.object_storage import ObjectStorage
from kit.storage_lock import LockSettings, Rival, StorageLock
from manifests import locations
from manifests.names import TitleId


class WriterLock(StorageLock):
    """The right to change ``title``: a lock of storage whose claims are at ``t/{title}/w/``."""

    def __init__(
        self,
        storage: ObjectStorage,
        title: TitleId,
        *,
        clock: Clock,
        settings: LockSettings,
        command: str,
        on_wait: Callable[[Rival], None] = lambda _: None,
    ) -> None:
        super().__init__(
            storage,
            locations.lock_prefix(title),
            f"title {title}",
            clock=clock,
            settings=settings,
            command=command,
            on_wait=on_wait,
        )
        self.title = title
