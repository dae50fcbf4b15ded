"""Whether a release is vouched for: the steps that no library knows, by number.

Steps 2 and 3 (roots; timestamp, snapshot, targets and every delegation) are those of The Update
Framework's client. The rest is here: each step is a function that returns, or names the file, the
role and the rule that forbid to go on.

Source: ``docs/format/trust.md``, whose numbers these are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from kit.buffers import Buffer
from kit.errors import Conflict, InvalidInput, Untrusted
from manifests.documents import Release, encode
from manifests.names import Channel, TitleId
from manifests.trust_expiry import TIMESTAMP_LIFETIME
from manifests.trust_roles import (
    BOUND_ROLE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    build_path,
    publisher_id,
)

CLOCK_STEP_S = 300.0
"""Clocks are set right by small steps all the time; none that is right goes back by this much."""

COUNTER_MAX = 9_999_999_999


@dataclass(frozen=True, slots=True)
class Witness:
    """What one role says of a path: how long the release document is, and its SHA-256."""

    path: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Step 5: what the platform says a channel plays, and whose it is."""

    witness: Witness
    publisher: PublisherId
    counter: int


def check_clock(now_s: float, verified_s: float) -> None:
    """Step 1: the clock is not behind the last moment that was verified (Unix epoch, seconds).

    Raises:
        Untrusted: It is: what has expired since would count as fresh.
    """
    if now_s + CLOCK_STEP_S < verified_s:
        raise Untrusted(
            f"this console's clock says {time_text(now_s)}, but something signed at"
            f" {time_text(verified_s)} was verified here before: set the clock and try again"
        )


def moment(now_s: float, timestamp_expires: datetime) -> float:
    """Return what step 1 may hold against a clock from now on.

    The earlier of what the clock says and when the timestamp was signed: a clock that was ahead
    must not lock its console out once it is right again.
    """
    return min(now_s, (timestamp_expires - TIMESTAMP_LIFETIME).timestamp())


def check_role_binding(name: str, role: str, document: Buffer) -> None:
    """Step 4: a delegated role's document, which is in the file ``name``, says that it is its own.

    Raises:
        Untrusted: It is another role's. Two of equal keys and version could be swapped by whoever
            serves them, and a client that took one for the other would be stuck with it.
    """
    if role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
        return
    try:
        found = msgspec.json.decode(document, type=_Bound).signed.role
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Untrusted(f"{name}: what {role} signed is damaged: {error}") from error
    if found != role:
        raise Untrusted(f"{name}: must be what {role} signed, but says that {found[:80]!r} did")


def read_claim(witness: Witness, custom: object) -> Claim:
    """Step 5: the platform's word on a channel names a publisher and a counter.

    Raises:
        Untrusted: It does not.
    """
    try:
        said = msgspec.convert(custom, _Custom)
        return Claim(witness, publisher_id(said.publisher), said.counter)
    except (msgspec.ValidationError, InvalidInput) as error:
        raise Untrusted(
            f"{witness.path}: the platform must name its publisher and counter: {error}"
        ) from error


def witness_path(claim: Claim, title: TitleId) -> str:
    """Step 6: return the path that the named publisher, and no other, can have signed."""
    return build_path(claim.publisher, title, claim.counter)


def check_agreement(claim: Claim, build: Witness) -> None:
    """Step 7: platform and publisher speak of the same bytes.

    Raises:
        Untrusted: One of them vouches for others.
    """
    head = claim.witness
    if (head.length, head.sha256) != (build.length, build.sha256):
        raise Untrusted(
            f"{head.path} is, to the platform, {head.length} bytes of SHA-256 {head.sha256}; but"
            f" {build.path} is, to publisher {claim.publisher}, {build.length} bytes of"
            f" {build.sha256}: both must vouch for the same release"
        )


def is_vouched_for(release: Release, claim: Claim) -> bool:
    """Step 8: tell whether the document of ``release`` is the one that both speak of."""
    document = encode(release)
    return (
        release.counter == claim.counter
        and len(document) == claim.witness.length
        and hashlib.sha256(document).hexdigest() == claim.witness.sha256
    )


def check_release(release: Release, claim: Claim) -> None:
    """Step 8, where there is no other document to try.

    Raises:
        Untrusted: It is not the document that both speak of.
    """
    if not is_vouched_for(release, claim):
        raise Untrusted(
            f"release {release.counter} of {release.title} is not what {claim.witness.path} and"
            f" publisher {claim.publisher} vouch for: they say {claim.witness.length} bytes of"
            f" SHA-256 {claim.witness.sha256}"
        )


def check_counter(title: TitleId, channel: Channel, counter: int, seen: int) -> None:
    """Step 9: a console never goes back behind a release of the title that it has seen.

    Raises:
        Conflict: It would.
    """
    if counter < seen:
        raise Conflict(
            f"{title}/{channel}: the edge offers release {counter}, but release"
            f" {seen} was seen before; a console never goes back. Try again or another edge"
        )


def time_text(moment_s: float) -> str:
    """Return a moment as people read it, in UTC."""
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


class _Custom(msgspec.Struct):
    publisher: str
    counter: Annotated[int, msgspec.Meta(ge=1, le=COUNTER_MAX)]


class _BoundSigned(msgspec.Struct):
    role: str = msgspec.field(name=BOUND_ROLE, default="")


class _Bound(msgspec.Struct):
    signed: _BoundSigned
