"""A lease: a signed, short permission to download one title.

Whoever serves content checks the lease of every request by itself, without asking anybody: the
keys are shared, and what was revoked lately is told by a feed. A lease lasts minutes, so nothing
that was revoked has to be remembered for longer than that.

Source: ``docs/format/leases.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NewType

from kit import access_token
from kit.access_token import Claims, InvalidToken, KeyId, decode_token, encode_token
from kit.errors import Denied, Unauthenticated
from manifests.names import TITLE_NAME, TitleId

Subject = NewType("Subject", str)
"""Who holds a lease: a player's id, or a node's name."""

HEADER = "CTA-Common-Access-Token"
LIFETIME_S = 900
"""Renewed while downloading; what is revoked needs to be remembered for so long, no longer."""
SKEW_S = 60
"""A console's lease is judged by the clock of the node it asks: clocks may be so far apart."""

TOKEN_ID_SIZE = 12
"""Bytes; 96 random bits tell apart all leases ever minted."""

_ISSUER = "playhead"
_VERSION = 1
_READING = ["GET", "HEAD"]
_fixed = itemgetter(access_token.ISSUER, access_token.VERSION, access_token.METHODS)
_FIXED = (_ISSUER, _VERSION, _READING)
_free = itemgetter(
    access_token.SUBJECT,
    access_token.URI,
    access_token.ISSUED_AT,
    access_token.EXPIRES_AT,
    access_token.EPOCH,
    access_token.TOKEN_ID,
)
_FREE_TYPES = (str, dict, int, int, int, bytes)
_CLAIM_NAMES = {
    access_token.ISSUER,
    access_token.SUBJECT,
    access_token.EXPIRES_AT,
    access_token.ISSUED_AT,
    access_token.TOKEN_ID,
    access_token.VERSION,
    access_token.URI,
    access_token.METHODS,
    access_token.EPOCH,
}
_TITLE_PATH = re.compile(rf"/t/({TITLE_NAME})/")
_ALL_TITLES = "/t/"
_SUBJECT_SIZE_MAX = 128


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may read what, until when."""

    subject: Subject
    title: TitleId | None
    """None: every title. For nodes of the platform, which fetch for many players."""
    issued_at: int
    expires_at: int
    """Seconds since the Unix epoch."""
    epoch: int
    """Revoking ends all leases of a subject and title below an epoch."""
    token_id: bytes
    """Tells leases apart in logs."""


class LeaseWanted(Unauthenticated):
    """A good lease must be shown; which fault this one has, its kind says."""

    code = "lease-wanted"
    challenge = HEADER


class LeaseMissing(LeaseWanted):
    """Content was asked for without a lease."""

    code = "lease-missing"


class LeaseExpired(LeaseWanted):
    """The lease was good once; a new one will do."""

    code = "lease-expired"


class LeaseInvalid(LeaseWanted):
    """The lease was made by nobody who may, or was changed on the way."""

    code = "lease-invalid"


class LeaseForOtherTitle(Denied):
    """The lease is for another title."""

    code = "lease-other-title"


class LeaseRevoked(Denied):
    """The permission was taken back; until it is granted again no lease will do."""

    code = "lease-revoked"


def encode_lease(lease: Lease, key_id: KeyId, key: bytes) -> str:
    """Return a lease as it travels, in the header ``CTA-Common-Access-Token``."""
    path = _ALL_TITLES if lease.title is None else f"/t/{lease.title}/"
    claims: Mapping[int, Any] = {
        access_token.ISSUER: _ISSUER,
        access_token.SUBJECT: lease.subject,
        access_token.EXPIRES_AT: lease.expires_at,
        access_token.ISSUED_AT: lease.issued_at,
        access_token.TOKEN_ID: lease.token_id,
        access_token.VERSION: _VERSION,
        access_token.URI: _only(path),
        access_token.METHODS: _READING,
        access_token.EPOCH: lease.epoch,
    }
    return encode_token(claims, key_id, key)


def decode_lease(token: str, keys: Mapping[KeyId, bytes]) -> Lease:
    """Return an authentic lease; whether it still holds, and for what, is :class:`Gate`'s to say.

    Raises:
        LeaseInvalid: It is no lease, by no valid key, or was changed.
    """
    try:
        _, claims = decode_token(token, keys)
        return _lease_of(claims)
    except InvalidToken as error:
        raise LeaseInvalid(f"lease: {error}; sign in again") from error


def _lease_of(claims: Claims) -> Lease:
    """Read claims whose key is ours: what they lack or have besides is another program's."""
    # Every first request of a console passes here, hence no pattern of nine keys: it takes 5 us.
    is_ours = claims.keys() == _CLAIM_NAMES and _fixed(claims) == _FIXED
    if not is_ours or tuple(map(type, _free(claims))) != _FREE_TYPES:
        raise InvalidToken("its claims are not those of a lease; this program may be too old")
    subject, uri, issued_at, expires_at, epoch, token_id = _free(claims)
    if not 0 < len(subject) <= _SUBJECT_SIZE_MAX:
        raise InvalidToken(f"its subject has {len(subject)} characters")
    return Lease(subject, _title_in(uri), issued_at, expires_at, epoch, token_id)


def _only(prefix: str) -> dict[int, dict[int, str]]:
    return {access_token.URI_PATH: {access_token.PREFIX_MATCH: prefix}}


def _title_in(uri: dict[Any, Any]) -> TitleId | None:
    """Read the one restriction that a lease has; with any other besides, it would open too much."""
    path = uri.get(access_token.URI_PATH)
    prefix = path.get(access_token.PREFIX_MATCH) if type(path) is dict else None
    if type(prefix) is not str or uri != _only(prefix):
        raise InvalidToken("it is for something other than the path of a title")
    if prefix == _ALL_TITLES:
        return None
    found = _TITLE_PATH.fullmatch(prefix)
    if found is None:
        raise InvalidToken(f"it is for the path {prefix[:80]!r}, under which there is no title")
    return TitleId(found[1])
