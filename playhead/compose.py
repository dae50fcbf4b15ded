"""The composition root: the only module that names a concrete backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import Protocol, runtime_checkable

from kit.http_client import HttpClient
from kit.object_storage import ObjectStorage
from kit.object_storage.direct import Presigner
from kit.object_storage.local import LocalStorage
from kit.object_storage.remote import Credentials, RemoteStorage
from kit.object_storage.wrappers import Retrying
from playhead.settings import Settings


class Backend(ObjectStorage, Protocol):
    """An object storage that holds threads or connections."""

    async def close(self) -> None:
        """Let go of them."""


@runtime_checkable
class DirectBackend(Backend, Presigner, Protocol):
    """One that can be put to directly."""


def backend(settings: Settings) -> Backend:
    """Return the bare storage that the settings name; whoever takes it closes it."""
    if settings.storage.s3 is None:
        return LocalStorage(settings.data / "objects")
    # Here, not above: boto3 takes 0.1 s to import, and most commands need none of it.
    from kit.object_storage.s3 import S3Storage  # noqa: PLC0415

    return S3Storage(settings.storage.s3)


def presigner(base: Backend) -> Presigner | None:
    """Return ``base`` if it can be put to directly; a directory cannot."""
    return base if isinstance(base, DirectBackend) else None


def remote_storage(url: str, client: HttpClient, credentials: Credentials) -> RemoteStorage:
    """Return the storage behind an origin's publishing API."""
    return RemoteStorage(url, client, credentials)


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
