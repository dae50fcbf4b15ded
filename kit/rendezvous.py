"""Who of several is responsible for a key: everybody who asks comes to the same answer.

Rendezvous hashing: each member gets a score for the key, and the highest wins. Without a member,
only its own keys move, each to its second; with a new one, only those move that become its own.

Source: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM
Transactions on Networking 6(1), 1998.
"""

from __future__ import annotations

from collections.abc import Iterable

import xxhash


def ranked(members: Iterable[str], key: bytes) -> list[str]:
    """Return ``members``, the one responsible for ``key`` first, then who stands in for it."""
    return sorted(set(members), key=lambda member: (-_score(member, key), member))


def owner_index(count: int, key: bytes) -> int:
    """Return which of ``count`` members that are named 0, 1, ... is responsible for ``key``."""
    assert count > 0
    return max(range(count), key=lambda index: _score(str(index), key))


def _score(member: str, key: bytes) -> int:
    """Return a number that depends on all of both; no identity, so a fast hash does."""
    return xxhash.xxh3_64_intdigest(key, seed=xxhash.xxh3_64_intdigest(member.encode()))
