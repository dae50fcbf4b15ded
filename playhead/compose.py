"""The composition root: the only module that names a concrete backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import Protocol

from kit.object_storage import ObjectStorage
from kit.object_storage.local import LocalStorage
from kit.object_storage.wrappers import Retrying
from playhead.settings import Settings


class Backend(ObjectStorage, Protocol):
    """An object storage that holds threads or connections."""

    async def close(self) -> None:
        """Let go of them."""


def backend(settings: Settings) -> Backend:
    """Return the bare storage that the settings name; whoever takes it closes it."""
    if settings.storage.s3 is None:
        return LocalStorage(settings.data / "objects")
    # Here, not above: boto3 takes 0.1 s to import, and most commands need none of it.
    from kit.object_storage.s3 import S3Storage  # noqa: PLC0415

    return S3Storage(settings.storage.s3)


def with_retries(base: ObjectStorage, settings: Settings) -> ObjectStorage:
    """Return ``base`` with retries, as the settings say."""
    return Retrying(base, settings=settings.storage.retries, random=SystemRandom())


@asynccontextmanager
async def closing(base: Backend) -> AsyncIterator[None]:
    """Close ``base`` on leaving."""
    try:
        yield
    finally:
        await base.close()


@asynccontextmanager
async def object_storage(settings: Settings) -> AsyncIterator[ObjectStorage]:
    """Open the storage that the settings name, with retries; close it on leaving."""
    base = backend(settings)
    async with closing(base):
        yield with_retries(base, settings)
