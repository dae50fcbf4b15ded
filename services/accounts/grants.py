"""What was granted to whom, and the refresh tokens that go with it. Pure.

An access token is short and is verified without asking here. A refresh token brings the next one,
and is replaced whenever it is used:

1. The *current* token brings an access token and a new refresh token, and becomes the *previous*.
2. The previous one is good still, for the answer may have been lost on its way: it brings another
   new one, in the place of the current.
3. Any other that we ever made was used by two: one of them is a thief. The grant is revoked.

A token carries its grant and a MAC, so that what was never ours cannot revoke anything; of the
current and the previous one only hashes are kept.

Source: RFC 6749, section 10.4; RFC 9700, section 4.14.2.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass

import msgspec

from kit.clock import Clock
from kit.errors import NotFound
from manifests.publishing_scope import Scope
from services.accounts.codes import RandomBytes, hashed

_ID_SIZE, _NONCE_SIZE, _MAC_SIZE = 12, 16, 32
TOKEN_SIZE_MAX = 256


class Grant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One publisher's machine, and what it may do until when."""

    grant_id: str
    scope: Scope
    machine: str
    """What it calls itself; for people."""
    granted_s: float
    """Seconds since the Unix epoch."""
    expires_s: float
    current: str = ""
    """Hash of the refresh token that was made last."""
    previous: str = ""


@dataclass(frozen=True, slots=True)
class Renewed:
    """A refresh token, and the grant as it is now."""

    grant: Grant
    refresh_token: str


class Reused(Exception):  # noqa: N818 - a finding, not a failure
    """A refresh token was used by two; its grant must be revoked."""

    def __init__(self, grant: Grant) -> None:
        super().__init__(grant.grant_id)
        self.grant = grant


class Grants:
    """All grants, by id. Changes nothing but itself: whoever calls stores it."""

    def __init__(
        self, grants: dict[str, Grant], secret: bytes, *, clock: Clock, random: RandomBytes
    ) -> None:
        self._grants = grants
        self._secret = secret
        self._clock = clock
        self._random = random

    @property
    def all(self) -> list[Grant]:
        """Every grant that is still good, the oldest first."""
        now_s = self._clock.now()
        return [grant for grant in self._grants.values() if grant.expires_s > now_s]

    def is_good(self, grant_id: str) -> bool:
        """Tell whether a grant was neither revoked nor has expired."""
        grant = self._grants.get(grant_id)
        return grant is not None and grant.expires_s > self._clock.now()

    def new(self, scope: Scope, machine: str, good_for_s: float) -> Grant:
        """Return a grant that is not in force yet: :meth:`begin` puts it there."""
        now_s = self._clock.now()
        return Grant(
            grant_id=self._random(_ID_SIZE).hex(),
            scope=scope,
            machine=machine,
            granted_s=now_s,
            expires_s=now_s + good_for_s,
        )

    def begin(self, grant: Grant) -> Renewed:
        """Put a grant in force and return its first refresh token."""
        return self._renewed(grant, previous="")

    def renew(self, token: str) -> Renewed | None:
        """Return the next refresh token; None if ``token`` is none that we made, or no more.

        Raises:
            Reused: It was used before by somebody else; call :meth:`revoke`.
        """
        grant_id = self._grant_of(token)
        grant = None if grant_id is None else self._grants.get(grant_id)
        if grant is None or grant.expires_s <= self._clock.now():
            return None
        found = hashed(token)
        if hmac.compare_digest(found, grant.current) or hmac.compare_digest(found, grant.previous):
            return self._renewed(grant, previous=found)
        raise Reused(grant)

    def revoke(self, which: str) -> list[Grant]:
        """Take back a grant by its id, or all of a publisher; return them.

        Raises:
            NotFound: There are none.
        """
        gone = [
            grant
            for grant in self._grants.values()
            if which in (grant.grant_id, grant.scope.publisher)
        ]
        if not gone:
            raise NotFound(f"{which[:80]!r} is no publisher, and no grant, that may publish here")
        for grant in gone:
            del self._grants[grant.grant_id]
        return gone

    def forget_expired(self) -> None:
        """Drop what is over."""
        for grant in set(self._grants) - {grant.grant_id for grant in self.all}:
            del self._grants[grant]

    def _renewed(self, grant: Grant, previous: str) -> Renewed:
        body = bytes.fromhex(grant.grant_id) + self._random(_NONCE_SIZE)
        token = base64.urlsafe_b64encode(body + self._mac(body)).decode().rstrip("=")
        changed = msgspec.structs.replace(grant, current=hashed(token), previous=previous)
        self._grants[grant.grant_id] = changed
        return Renewed(changed, token)

    def _grant_of(self, token: str) -> str | None:
        """Return which grant a token is of, if we made it."""
        try:
            raw = base64.urlsafe_b64decode(token[:TOKEN_SIZE_MAX] + "=" * (-len(token) % 4))
        except ValueError:
            return None
        body, mac = raw[:-_MAC_SIZE], raw[-_MAC_SIZE:]
        is_ours = len(body) == _ID_SIZE + _NONCE_SIZE and hmac.compare_digest(mac, self._mac(body))
        return body[:_ID_SIZE].hex() if is_ours else None

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, b"refresh" + body, "sha256")
