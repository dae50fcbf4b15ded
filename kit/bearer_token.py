"""Short bearer tokens: a JWT signed with Ed25519, verified without asking anybody (RFC 7519, 9864).

Whoever has the public key can verify; only whoever has the private key can make one. There is one
algorithm, so a token cannot choose a weaker one, and both ends name what the token is good for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from kit.clock import Clock
from kit.errors import SettingsError, Unauthenticated

ALGORITHM = "Ed25519"
TOKEN_SIZE_MAX = 4096
CLOCK_ERROR_S = 60.0
"""Who signs and who verifies may be two machines, whose clocks differ a little."""


class TokenKey:
    """A private key and its public half."""

    def __init__(self, key: OKPKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> TokenKey:
        """Make a new one."""
        return cls(OKPKey.generate_key("Ed25519"))

    @classmethod
    def of_pem(cls, pem: bytes) -> TokenKey:
        """Read one.

        Raises:
            SettingsError: It is none.
        """
        try:
            return cls(OKPKey.import_key(pem))
        except (JoseError, ValueError, TypeError) as error:
            raise SettingsError(f"not a private key for tokens: {error}") from error

    @property
    def private_pem(self) -> bytes:
        """The private key, for a file that only its owner may read."""
        return self._key.as_pem(private=True)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return a token that says ``claims``."""
        return jwt.encode({"alg": ALGORITHM}, dict(claims), self._key, algorithms=[ALGORITHM])

    def verifier(self, *, issuer: str, audience: str, clock: Clock) -> TokenVerifier:
        """Return what verifies tokens of this key."""
        public = OKPKey.import_key(self._key.as_dict(private=False))
        return TokenVerifier(public, issuer=issuer, audience=audience, clock=clock)


class TokenVerifier:
    """Verifies tokens of one issuer for one audience."""

    def __init__(self, key: OKPKey, *, issuer: str, audience: str, clock: Clock) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience
        self._clock = clock

    def verify(self, token: str) -> dict[str, Any]:
        """Return what a token says.

        Raises:
            Unauthenticated: It is no token, not signed by the issuer, for somebody else, expired,
                or not valid yet.
        """
        if len(token) > TOKEN_SIZE_MAX:
            raise Unauthenticated(f"a token of more than {TOKEN_SIZE_MAX} bytes")
        try:
            claims = jwt.decode(token, self._key, algorithms=[ALGORITHM]).claims
        # Whatever is no token makes the library raise what its pieces happen to.
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise Unauthenticated("the token is none of ours: log in again") from error
        now_s = self._clock.now()
        if (claims.get("iss"), claims.get("aud")) != (self._issuer, self._audience):
            raise Unauthenticated("the token is for another purpose: log in again")
        expires_s, issued_s = claims.get("exp"), claims.get("iat")
        if not isinstance(expires_s, int | float) or not isinstance(issued_s, int | float):
            raise Unauthenticated("the token says not until when it is good: log in again")
        if now_s >= expires_s:
            raise Unauthenticated("the token has expired: renew it, or log in again")
        if issued_s > now_s + CLOCK_ERROR_S:
            raise Unauthenticated("the token is from the future: set this machine's clock")
        return claims
