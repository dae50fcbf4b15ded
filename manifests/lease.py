"""A lease: a signed, short permission to download one title.

Whoever serves content checks the lease of every request by itself, without asking anybody: the
keys are shared, and what was revoked lately is told by a feed. A lease lasts minutes, so nothing
that was revoked has to be remembered for longer than that.

Source: ``docs/format/lease.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NewType

from kit import access_token
from kit.access_token import Claims, InvalidToken, KeyId, decode_token, encode_token
from kit.errors import Denied, Unauthenticated
from manifests.names import TITLE_PATTERN, TitleId

Subject = NewType("Subject", str)
"""Who holds a lease: a player's id, or a node's name."""

HEADER = "CTA-Common-Access-Token"
LIFETIME_S = 900
"""Renewed while downloading; what is revoked needs to be remembered for so long, no longer."""
SKEW_S = 60
"""A console's lease is judged by the clock of the node it asks: clocks may be so far apart."""

_ISSUER = "playhead"
_VERSION = 1
_READING = ["GET", "HEAD"]
_CLAIM_COUNT = 9
_TITLE_PATH = re.compile(r"/t/(?P<title>[a-z0-9-]{1,64})/")
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
        access_token.URI: {access_token.URI_PATH: {access_token.PREFIX_MATCH: path}},
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
    match claims:
        case {
            access_token.ISSUER: "playhead",
            access_token.SUBJECT: str(subject),
            access_token.EXPIRES_AT: int(expires_at),
            access_token.ISSUED_AT: int(issued_at),
            access_token.TOKEN_ID: bytes(token_id),
            access_token.VERSION: 1,
            access_token.URI: dict(uri),
            access_token.METHODS: ["GET", "HEAD"],
            access_token.EPOCH: int(epoch),
        } if len(claims) == _CLAIM_COUNT and 0 < len(subject) <= _SUBJECT_SIZE_MAX:
            title = _title_in(uri)
            return Lease(Subject(subject), title, issued_at, expires_at, epoch, token_id)
        case _:
            raise InvalidToken("its claims are not those of a lease; this program may be too old")


def _title_in(uri: dict[Any, Any]) -> TitleId | None:
    """Read the one restriction that a lease has; with any other besides, it would open too much."""
    match uri:
        case {
            access_token.URI_PATH: {access_token.PREFIX_MATCH: str(path), **more},
            **others,
        } if not more and not others:
            pass
        case _:
            raise InvalidToken("it is for something other than the path of a title")
    if path == _ALL_TITLES:
        return None
    found = _TITLE_PATH.fullmatch(path)
    if found is None or re.match(TITLE_PATTERN, found["title"]) is None:
        raise InvalidToken(f"it is for the path {path[:80]!r}, under which there is no title")
    return TitleId(found["title"])
