"""How leases are asked for over HTTP: ``docs/format/leases.md``, "Minting and revoking". Pure."""

from __future__ import annotations

import msgspec

from kit.buffers import Buffer
from kit.errors import FormatError
from manifests.names import TitleId

LEASES_PATH = "/api/v1/leases"

ANSWER_SIZE_MAX = 8192

REFUSALS = frozenset({400, 401, 403, 404, 422})
"""Statuses by which a service, if it says why, refuses a lease. Others are its trouble."""


class LeaseAnswer(msgspec.Struct, frozen=True):
    """A lease as the service gives it."""

    lease: str
    expires_in_s: float


def encode_lease_wish(title: TitleId) -> bytes:
    """Return the body of a request for a lease."""
    return msgspec.json.encode({"title": title})


def parse_lease_answer(body: Buffer) -> LeaseAnswer:
    """Read an answer of status 200.

    Raises:
        FormatError: It is none.
    """
    try:
        return msgspec.json.decode(body, type=LeaseAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"no lease: {error}") from error
