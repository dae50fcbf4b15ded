"""The operator's side of publishing: who waits, who is granted what, whose key vouches for it.

An operator's command enrols the publisher's key where the offline keys are, which the origin's
process never sees, and only then has the origin hand out tokens.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from securesystemslib.signer import Key

from kit.errors import Conflict, Denied, InvalidInput, Unavailable
from kit.http_client import HttpClient
from kit.http_problem import problem_of
from manifests.names import TitleId
from manifests.publishing_scope import Scope
from manifests.trust_metadata import RoleKeys, role_keys
from manifests.trust_roles import publisher_role, shard_role
from playhead import compose
from playhead.keys.signers import public_key
from playhead.local_secrets import OPERATOR_FILE, local_secret
from playhead.settings import Settings
from playhead.trust import Say, key_folder, open_registry

ANSWER_SIZE_MAX = 4 << 20
T = TypeVar("T")


class WaitingLogin(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that wants to publish here."""

    user_code: str
    publisher_key: str
    address: str
    machine: str
    began_s: float
    expires_s: float

    @property
    def key(self) -> Key:
        """The key that it would vouch with.

        Raises:
            InvalidInput: It sent none.
        """
        try:
            fields = msgspec.json.decode(self.publisher_key, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"login {self.user_code} came with no publisher key") from error
        return public_key(fields)


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine may do here."""

    grant_id: str
    scope: Scope
    machine: str
    granted_s: Annotated[float, Meta(ge=0)]
    expires_s: Annotated[float, Meta(ge=0)]


class PublisherDesk:
    """Asks the accounts service of this machine's origin, as its operator."""

    def __init__(self, settings: Settings, client: HttpClient, url: str) -> None:
        listen = settings.origin.listen
        host = "127.0.0.1" if listen.host in ("0.0.0.0", "::") else listen.host  # noqa: S104
        scheme = "http" if listen.tls is None else "https"
        self._url = url.rstrip("/") or f"{scheme}://{host}:{listen.port}"
        self._settings = settings
        self._client = client

    async def waiting(self) -> list[WaitingLogin]:
        """Return the logins that wait, the oldest first."""
        return await self._asked("GET", "logins", None, list[WaitingLogin])

    async def grants(self) -> list[Granted]:
        """Return everybody who may publish here."""
        return await self._asked("GET", "grants", None, list[Granted])

    async def find(self, user_code: str) -> WaitingLogin:
        """Return the login that waits under a code.

        Raises:
            InvalidInput: None does.
        """
        letters = "".join(each for each in user_code.upper() if each.isalpha())
        for login in await self.waiting():
            if login.user_code.replace("-", "") == letters:
                return login
        raise InvalidInput(
            f"no login waits under {user_code[:40]!r}: mistyped, expired, or decided already"
        )

    async def approve(
        self, login: WaitingLogin, scope: Scope, good_for_s: float | None, say: Say
    ) -> Granted:
        """Enrol a publisher's key for its titles, and grant its machine ``scope``.

        Raises:
            Conflict: A title is another publisher's, or this publisher vouches with another key.
            Denied: More holders than are here must sign whose the titles are.
        """
        await self._enrol(login, scope, say)
        asked = {
            "user_code": login.user_code,
            "scope": scope,
            "good_for_s": good_for_s,
        }
        return await self._asked("POST", "logins/approve", asked, Granted)

    async def deny(self, login: WaitingLogin) -> None:
        """Refuse a login."""
        await self._asked("POST", "logins/deny", {"user_code": login.user_code}, WaitingLogin)

    async def revoke(self, which: str) -> list[Granted]:
        """Take back a grant, or all of a publisher.

        Raises:
            NotFound: There are none.
        """
        return await self._asked("POST", "grants/revoke", {"which": which}, list[Granted])

    async def _enrol(self, login: WaitingLogin, scope: Scope, say: Say) -> None:
        publisher = scope.publisher_id
        folder = key_folder(self._settings)
        async with compose.object_storage(self._settings) as storage:
            registry = await open_registry(folder, storage, say)
            shard = await registry.said(shard_role(publisher))
            known = () if shard is None else role_keys(shard, publisher_role(publisher)).keys
            if known and login.key.keyid not in {key.keyid for key in known}:
                raise Conflict(
                    f"publisher {publisher} vouches with key {known[0].keyid[:12]}, and this "
                    f"machine has {login.key.keyid[:12]}: copy the key file from the machine that "
                    "publishes now, or replace the key by `playhead keys`"
                )
            keys = RoleKeys(known or (login.key,))
            titles = [TitleId(title) for title in scope.titles]
            holders = await asyncio.to_thread(folder.holders)
            try:
                await registry.enrol(publisher, keys, titles, holders)
            except Denied as error:
                raise Denied(
                    f"more holders than are here must sign whose the titles are ({error}): "
                    f"`playhead keys add-holder --publisher {publisher}` begins that"
                ) from error

    async def _asked(self, method: str, path: str, body: object, kind: type[T]) -> T:
        secret = await asyncio.to_thread(local_secret, self._settings, OPERATOR_FILE)
        headers = {"Authorization": f"Bearer {secret}"}
        content = None if body is None else msgspec.json.encode(body)
        url = f"{self._url}/accounts/v1/{path}"
        async with self._client.send(method, url, headers=headers, body=content) as reply:
            if reply.status >= 400:
                raise await problem_of(reply)
            answer = await reply.read(size_max=ANSWER_SIZE_MAX)
            try:
                return msgspec.json.decode(answer, type=kind)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Unavailable(f"{url}: not answered by an origin") from error
