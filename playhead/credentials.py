"""What a publisher's machine keeps of its logins: a key and tokens, a file for each origin.

All of it is in one folder that only its owner may read. Programs that run at the same time renew a
token one after the other: each is good once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from kit.clock import Clock
from kit.concurrency import to_its_end
from kit.errors import InvalidInput, NotFound, SettingsError, Unauthenticated
from kit.secret_files import folder_locked, read_secret, write_secret
from playhead.keys.signers import KeyEntry, make_key

RENEW_BEFORE_S = 60.0
"""A token that has less left is renewed before it is used: a large upload may take so long."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine's standing with one origin; the tokens are empty after a logout."""

    format: int = 1
    origin: str
    key: KeyEntry
    """What this publisher vouches with; never leaves this machine."""
    publisher: str = ""
    titles: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    access_token: str = ""
    access_expires_s: float = 0.0
    """Seconds since the Unix epoch."""
    refresh_token: str = ""

    def __repr__(self) -> str:
        """Name the place, never the secrets: this is what ends up in logs."""
        return f"Login({self.publisher} at {self.origin})"


Renew = Callable[[Login], Awaitable[Login]]


def base_url(text: str) -> str:
    """Return an origin's URL as it is kept.

    Raises:
        InvalidInput: It is none, or would carry secrets in the open to another machine.
    """
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise InvalidInput(f"origin {text!r}: expected a URL such as https://origin.example")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise InvalidInput(
            f"origin {text}: tokens would travel in the open; use https (a front such as nginx "
            "terminates it), or a tunnel to this machine"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def slug_of(origin: str) -> str:
    """Return a file's name for an origin."""
    return re.sub(r"[^a-z0-9.-]+", "_", origin.lower())


class Logins:
    """Reads and changes the folder; all of its methods block on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, origin: str) -> Login | None:
        """Return what is kept of an origin.

        Raises:
            SettingsError: It is damaged, or others may read it.
        """
        path = self._path(origin)
        try:
            return msgspec.json.decode(read_secret(path), type=Login)
        except NotFound:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is damaged: {error}; log in again") from error

    def prepare(self, origin: str) -> Login:
        """Return what is kept of an origin; make a key for it if there is none."""
        with folder_locked(self.folder):
            found = self.find(origin)
            if found is None:
                key = make_key(self.folder, f"{slug_of(origin)}-publisher", "offline")
                found = Login(origin=origin, key=key)
                self.keep(found)
            return found

    def keep(self, login: Login) -> None:
        """Write a login down."""
        data = msgspec.json.format(msgspec.json.encode(login))
        write_secret(self._path(login.origin), data)

    def forget(self, origin: str) -> bool:
        """Drop the tokens, keep the key; return False if there were none."""
        with folder_locked(self.folder):
            found = self.find(origin)
            if found is None or not found.refresh_token:
                return False
            self.keep(Login(origin=origin, key=found.key, publisher=found.publisher))
            return True

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Keep other programs of this user out, across awaits."""
        stack = ExitStack()
        await to_its_end(asyncio.to_thread(stack.enter_context, folder_locked(self.folder)))
        try:
            yield
        finally:
            await to_its_end(asyncio.to_thread(stack.close))

    def _path(self, origin: str) -> Path:
        return self.folder / f"{slug_of(origin)}.json"


class OriginCredentials:
    """Implements :class:`kit.object_storage.remote.Credentials` for one login."""

    def __init__(self, logins: Logins, login: Login, renew: Renew, clock: Clock) -> None:
        self._logins = logins
        self._login = login
        self._renew = renew
        self._clock = clock
        self._renewing = asyncio.Lock()

    async def token(self) -> str:
        """Return an access token that is good for a minute at least."""
        if not self._is_fresh(self._login):
            return await self.renewed(self._login.access_token)
        return self._login.access_token

    async def renewed(self, refused: str) -> str:
        """Return another access token than ``refused``.

        Raises:
            Unauthenticated: The login is over.
        """
        async with self._renewing:
            if self._login.access_token == refused or not self._is_fresh(self._login):
                async with self._logins.locked():
                    # The answer must be written down: the token it replaces is good no more.
                    self._login = await to_its_end(self._renewed(refused))
        return self._login.access_token

    async def _renewed(self, refused: str) -> Login:
        kept = await asyncio.to_thread(self._logins.find, self._login.origin)
        if kept is None or not kept.refresh_token:
            raise Unauthenticated(
                f"not logged in at {self._login.origin}: `playhead login {self._login.origin}`"
            )
        if kept.access_token != refused and self._is_fresh(kept):
            return kept  # another program was faster
        renewed = await self._renew(kept)
        await asyncio.to_thread(self._logins.keep, renewed)
        return renewed

    def _is_fresh(self, login: Login) -> bool:
        return login.access_expires_s - self._clock.now() > RENEW_BEFORE_S
