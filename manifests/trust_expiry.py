"""How long what a role signed is good for, and when to sign it anew.

An expiry bounds a *freeze*: for so long a mirror can pass off an old state as the newest. What is
signed by machines is short; what needs people is as long as they can be trusted to remember.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from manifests.trust_roles import BIN_PREFIX, RELEASE, SNAPSHOT, TIMESTAMP

if TYPE_CHECKING:
    # Importing it takes a fifth of a second, and consoles ask for no more than a lifetime here.
    from tuf.api.metadata import Signed

TIMESTAMP_LIFETIME = timedelta(hours=48)
"""A weekend night without the origin must not stop consoles from installing; longer would let a
mirror hide a withdrawn build for as long."""
TIMESTAMP_RENEWED_AFTER = timedelta(hours=1)
"""47 renewals may fail in a row."""

SNAPSHOT_LIFETIME = timedelta(days=7)
"""Signed with every publication; a week without one costs a signature."""
RELEASE_LIFETIME = timedelta(days=30)
"""Bins of titles that nobody publishes are signed once a fortnight: 512 roles, 0.5 s of CPU."""
HOLDER_LIFETIME = timedelta(days=365)
"""Root, targets and shards: people with offline keys meet once a year."""
PUBLISHER_LIFETIME = timedelta(days=3650)
"""A publisher that is gone cannot sign again, and its titles must stay installable."""

HOLDER_WINDOW = timedelta(days=60)
"""People are asked this long before what they signed expires: time for holidays and the post."""
PUBLISHER_WINDOW = timedelta(days=365)
"""Any publication in the last year renews; only who publishes nothing is asked."""

_LIFETIMES = {
    TIMESTAMP: TIMESTAMP_LIFETIME,
    SNAPSHOT: SNAPSHOT_LIFETIME,
    RELEASE: RELEASE_LIFETIME,
}


def lifetime_of(role: str) -> timedelta:
    """Return how long what ``role`` signs is good for."""
    if role.startswith("publisher-"):
        return PUBLISHER_LIFETIME
    if role.startswith(f"{BIN_PREFIX}-"):
        return RELEASE_LIFETIME
    return _LIFETIMES.get(role, HOLDER_LIFETIME)


def window_of(role: str) -> timedelta:
    """Return how long before its expiry what ``role`` signed is to be signed anew."""
    if role == TIMESTAMP:
        return TIMESTAMP_LIFETIME - TIMESTAMP_RENEWED_AFTER
    if role.startswith("publisher-"):
        return PUBLISHER_WINDOW
    lifetime = lifetime_of(role)
    return HOLDER_WINDOW if lifetime == HOLDER_LIFETIME else lifetime / 2


def expiry_of(role: str, now_s: float) -> datetime:
    """Return until when what ``role`` signs at ``now_s`` (Unix epoch) is good."""
    return (_utc(now_s) + lifetime_of(role)).replace(microsecond=0)


def is_due(role: str, signed: Signed, now_s: float) -> bool:
    """Tell whether ``signed`` is to be signed anew at ``now_s``."""
    return signed.expires - _utc(now_s) <= window_of(role)


def left_s(signed: Signed, now_s: float) -> float:
    """Return for how many seconds ``signed`` is good still; negative once it has expired."""
    return (signed.expires - _utc(now_s)).total_seconds()


def _utc(now_s: float) -> datetime:
    return datetime.fromtimestamp(now_s, UTC)
