"""The accounts service without HTTP: logins, grants, tokens, and the file that remembers them.

Everything that changes grants is written down before it is answered. A change that could not be
written is undone, so what is remembered is what was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from kit.bearer_token import TokenKey
from kit.clock import Clock
from kit.concurrency import to_its_end
from kit.errors import Unavailable
from kit.telemetry import get_logger
from manifests.publishing_scope import AUDIENCE, ISSUER, Scope, claims_of
from services.accounts.account_file import AccountSecrets, GrantFile
from services.accounts.codes import RandomBytes
from services.accounts.grants import Grant, Grants, Renewed, Reused
from services.accounts.logins import Begun, Login, Logins, Refused
from services.accounts.settings import AccountsSettings

log = get_logger("accounts")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a publisher's machine gets."""

    access_token: str
    expires_in_s: float
    refresh_token: str
    scope: Scope


class Accounts:
    """Belongs to one event loop; one process has the file of grants."""

    def __init__(
        self,
        settings: AccountsSettings,
        secrets: AccountSecrets,
        file: GrantFile,
        *,
        clock: Clock,
        random: RandomBytes,
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._file = file
        self._clock = clock
        self._random = random
        self._key = TokenKey.of_pem(secrets.token_key.encode())
        self.verifier = self._key.verifier(issuer=ISSUER, audience=AUDIENCE, clock=clock)
        """Verifies access tokens, offline."""
        self._grants: Grants | None = None
        self._changing = asyncio.Lock()
        self.logins = Logins(
            expire_after_s=float(settings.codes_expire_after),
            poll_every_s=float(settings.poll_every),
            pending_max=settings.logins_pending_max,
            clock=clock,
            random=random,
        )

    async def open(self) -> None:
        """Read what was granted before."""
        self._grants = self._with(await asyncio.to_thread(self._file.read))

    def is_good(self, grant_id: str) -> bool:
        """Tell whether a grant is still good; before :meth:`open`, none is."""
        return self._grants is not None and self._grants.is_good(grant_id)

    def grants(self) -> list[Grant]:
        """Return every grant that is good."""
        return self._opened().all

    def begin(self, publisher_key: str, *, address: str, machine: str) -> Begun:
        """Let a login wait for an operator."""
        return self.logins.begin(publisher_key, address=address, machine=machine)

    def approve(self, user_code: str, scope: Scope, good_for_s: float | None) -> Grant:
        """Grant ``scope`` to the login that waits under a user code.

        Raises:
            NotFound: None does.
        """
        login = self.logins.find(user_code)
        good_for_s = good_for_s or float(self._settings.grant_expires_after)
        login.grant = self._opened().new(scope, login.machine, good_for_s)
        return login.grant

    def deny(self, user_code: str) -> Login:
        """Refuse the login that waits under a user code.

        Raises:
            NotFound: None does.
        """
        login = self.logins.find(user_code)
        login.is_denied = True
        return login

    async def poll(self, device_code: str) -> Tokens | Refused:
        """Return what a device code brings."""
        match self.logins.poll(device_code):
            case Refused() as refused:
                return refused
            case Grant() as grant:
                return self._tokens(await self._changed(lambda grants: grants.begin(grant)))

    async def refresh(self, token: str) -> Tokens | Refused:
        """Return what a refresh token brings; one that two used ends its grant."""
        try:
            renewed = await self._changed(lambda grants: grants.renew(token))
        except Reused as reused:
            grant_id = reused.grant.grant_id
            log.warning("grant.reused", grant=grant_id, publisher=reused.grant.scope.publisher)
            await self._changed(lambda grants: grants.revoke(grant_id))
            return Refused("invalid_grant")
        return Refused("invalid_grant") if renewed is None else self._tokens(renewed)

    async def revoke(self, which: str) -> list[Grant]:
        """Take back a grant, or all of a publisher.

        Raises:
            NotFound: There are none.
        """
        return await self._changed(lambda grants: grants.revoke(which))

    def _tokens(self, renewed: Renewed) -> Tokens:
        now_s, grant = self._clock.now(), renewed.grant
        good_for_s = min(float(self._settings.access_expires_after), grant.expires_s - now_s)
        claims = claims_of(grant.scope, grant.grant_id)
        access = self._key.sign({**claims, "iat": int(now_s), "exp": now_s + good_for_s})
        return Tokens(access, good_for_s, renewed.refresh_token, grant.scope)

    async def _changed(self, change: Callable[[Grants], T]) -> T:
        """Change the grants and write them down; nothing has changed if that fails."""
        return await to_its_end(self._change(change))

    async def _change(self, change: Callable[[Grants], T]) -> T:
        async with self._changing:
            before = self._opened()
            after = self._with({grant.grant_id: grant for grant in before.all})
            changed = change(after)
            await asyncio.to_thread(self._file.write, after.all)
            self._grants = after
            return changed

    def _with(self, grants: dict[str, Grant]) -> Grants:
        secret = bytes.fromhex(self._secrets.refresh_secret)
        return Grants(grants, secret, clock=self._clock, random=self._random)

    def _opened(self) -> Grants:
        if self._grants is None:
            raise Unavailable("accounts are being read")
        return self._grants
