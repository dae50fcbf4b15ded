"""The composition root: the only module that chooses a backend or names every role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from random import SystemRandom

import msgspec

import edge
import origin
from kit import service
from kit.clock import SystemClock
from kit.object_storage import ObjectStorage
from kit.object_storage.local import LocalStorage
from kit.object_storage.s3 import S3Storage
from kit.object_storage.wrappers import Measured, Retrying
from kit.service import Binder
from playhead.settings import Settings


@asynccontextmanager
async def object_storage(settings: Settings) -> AsyncIterator[ObjectStorage]:
    """Open the storage that the settings name, with retries; close it on leaving."""
    base = _backend(settings)
    async with _closing(base):
        yield _retrying(base, settings)


def serve(names: Iterable[str], settings: Settings) -> None:
    """Run the named roles in this process until it is told to stop.

    Raises:
        SettingsError: An address cannot be listened on.
    """
    chosen = set(names)
    # In the order of ROLES: an edge is drained before the origin it may fetch from.
    service.run([bind(settings) for name, bind in ROLES.items() if name in chosen])


def _origin(settings: Settings) -> Binder:
    binder = Binder("origin", settings.origin.listen)
    base = _backend(settings)
    measured = Measured(_retrying(base, settings), registry=binder.registry, clock=SystemClock())
    binder.lifetime(partial(_closing, base))
    origin.bind(binder, measured, settings.origin)
    return binder


def _edge(settings: Settings) -> Binder:
    binder = Binder("edge", settings.edge.listen)
    cache_dir = settings.data / settings.edge.cache_dir
    edge.bind(binder, msgspec.structs.replace(settings.edge, cache_dir=cache_dir))
    return binder


ROLES: dict[str, Callable[[Settings], Binder]] = {"origin": _origin, "edge": _edge}
"""What ``playhead serve`` can run, each on an address of its own."""


def _backend(settings: Settings) -> LocalStorage | S3Storage:
    if settings.storage.s3 is not None:
        return S3Storage(settings.storage.s3)
    return LocalStorage(settings.data / "objects")


@asynccontextmanager
async def _closing(base: LocalStorage | S3Storage) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await base.close()


def _retrying(base: ObjectStorage, settings: Settings) -> Retrying:
    return Retrying(base, settings=settings.storage.retries, random=SystemRandom())
