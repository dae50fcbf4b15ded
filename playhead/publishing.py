"""A publisher at work on one title: its store, its lock, its cache folder, as the settings say.

Straight into this machine's storage, or through the publishing API of an origin that is elsewhere:
whoever works at the desk need not know.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from kit.clock import SystemClock
from kit.errors import Unauthenticated, Unavailable
from kit.http_client import HttpClient
from kit.object_storage import ObjectStorage
from kit.storage_lock import Rival
from manifests.documents import Release
from manifests.names import Channel, title_id
from manifests.trust_roles import METADATA_SIZE_MAX, publisher_id
from packager.remote_voucher import RemoteVoucher
from packager.title_store import TitleStore
from packager.vouching import Voucher, Witness
from packager.writer_lock import WriterLock
from playhead import compose
from playhead.credentials import Login, Logins, OriginCredentials, slug_of
from playhead.keys.signers import signer_of
from playhead.login import logins_of, remembered_origin, renew
from playhead.settings import Settings
from playhead.trust import LocalVoucher, Say, key_folder

Ask = Callable[[str, str, bytes | None, int], Awaitable[bytes | None]]
"""Sends bytes to a path of the publishing API: method, path, body, most bytes of the answer."""


class Notary(Voucher, Witness, Protocol):
    """Vouches for releases, and tells whether consoles believe a channel."""


class _Doubt(msgspec.Struct, frozen=True):
    doubt: str | None


@dataclass(frozen=True, slots=True)
class Desk:
    """What every command of a publisher needs."""

    store: TitleStore
    lock: WriterLock
    new_lock: Callable[[], WriterLock]
    """Makes another: a lock is taken once."""
    cache_folder: Path
    voucher: Notary
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

    Raises:
        Unauthenticated: It is an origin's, and nobody logged in there.
    """
    name = title_id(title)
    async with _premises(settings, say) as (storage, voucher, cache_folder):
        new_lock = partial(
            WriterLock,
            storage,
            name,
            clock=SystemClock(),
            settings=settings.packager.lock,
            command=shlex.join(sys.argv),
            on_wait=on_wait,
        )
        yield Desk(TitleStore(storage, name), new_lock(), new_lock, cache_folder, voucher)


@asynccontextmanager
async def _premises(
    settings: Settings, say: Say
) -> AsyncIterator[tuple[ObjectStorage, Notary, Path]]:
    """Open where titles are kept, with who vouches there and what pushes remember of it."""
    cache_folder = settings.data / settings.packager.cache_dir
    origin = await asyncio.to_thread(remembered_origin, settings)
    if not origin:
        async with compose.object_storage(settings) as storage:
            yield storage, LocalVoucher(key_folder(settings), storage, say), cache_folder
        return
    async with HttpClient(settings.packager.http) as client:
        logins = logins_of(settings)
        login = await asyncio.to_thread(_logged_in, logins, origin)
        renewing = partial(_renewed, client)
        credentials = OriginCredentials(logins, login, renewing, SystemClock())
        remote = compose.remote_storage(origin, client, credentials)
        voucher = await asyncio.to_thread(_voucher, logins, login, remote.ask_bytes)
        storage = compose.with_retries(remote, settings)
        yield storage, voucher, cache_folder / slug_of(origin)


def _logged_in(logins: Logins, origin: str) -> Login:
    login = logins.find(origin)
    if login is None or not login.refresh_token:
        raise Unauthenticated(f"not logged in at {origin}: `playhead login {origin}`")
    return login


async def _renewed(client: HttpClient, login: Login) -> Login:
    return await renew(client, login, SystemClock())


def _voucher(logins: Logins, login: Login, ask: Ask) -> RemoteVoucher:
    async def fetch() -> bytes | None:
        return await ask("GET", "/trust", None, METADATA_SIZE_MAX)

    def path_of(release: Release, channel: Channel) -> str:
        return f"/trust/{release.title}/{channel}/{release.counter:010}"

    async def hand_in(release: Release, channel: Channel, signed: bytes) -> None:
        await ask("PUT", path_of(release, channel), signed, METADATA_SIZE_MAX)

    async def ask_doubt(release: Release, channel: Channel) -> str | None:
        answer = await ask("GET", path_of(release, channel), None, METADATA_SIZE_MAX)
        try:
            return msgspec.json.decode(answer or b"", type=_Doubt).doubt
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"{login.origin}: not answered by a publishing API") from error

    return RemoteVoucher(
        publisher_id(login.publisher),
        signer_of(login.key, logins.folder, ""),
        fetch=fetch,
        hand_in=hand_in,
        ask_doubt=ask_doubt,
        clock=SystemClock(),
    )
