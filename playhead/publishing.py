"""A publisher at work on one title: its store, its lock, its cache folder, as the settings say."""

from __future__ import annotations

import shlex
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kit.clock import SystemClock
from kit.storage_lock import Rival
from manifests.names import title_id
from packager.title_store import TitleStore
from packager.writer_lock import WriterLock
from playhead.compose import object_storage
from playhead.settings import Settings
from playhead.trust import LocalVoucher, Say, key_folder


@dataclass(frozen=True, slots=True)
class Desk:
    """What every command of a publisher needs."""

    store: TitleStore
    lock: WriterLock
    new_lock: Callable[[], WriterLock]
    """Makes another: a lock is taken once."""
    cache_folder: Path
    voucher: LocalVoucher
    """Opens the registry, and makes keys, only when it is asked."""


@asynccontextmanager
async def publisher(
    settings: Settings,
    title: str,
    on_wait: Callable[[Rival], None],
    say: Say = lambda _: None,
) -> AsyncIterator[Desk]:
    """Open the storage for ``title``; the lock is made, not taken.

    ``say`` hears what a person should know, such as that keys were made.
    """
    name = title_id(title)
    async with object_storage(settings) as storage:
        new_lock = partial(
            WriterLock,
            storage,
            name,
            clock=SystemClock(),
            settings=settings.packager.lock,
            command=shlex.join(sys.argv),
            on_wait=on_wait,
        )
        cache_folder = settings.data / settings.packager.cache_dir
        voucher = LocalVoucher(key_folder(settings), storage, say)
        yield Desk(TitleStore(storage, name), new_lock(), new_lock, cache_folder, voucher)
