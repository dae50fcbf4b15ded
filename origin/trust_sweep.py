"""Delete metadata that nobody can ask for any more.

Every publication leaves the former snapshot, bin and publisher behind, some 70 kB where there are
many titles. A console asks for them only while it believes a timestamp that names them, and that
expires. Roots stay: a console that slept for years follows them one by one. What is newer than the
snapshot names stays as well: it is what a commit that was cut off left, or one under way.
"""

from __future__ import annotations

import re

from kit.object_storage import ObjectStorage
from manifests.locations import TRUST_PREFIX, trust_key
from manifests.trust_expiry import SNAPSHOT_LIFETIME
from manifests.trust_roles import ROOT, SNAPSHOT, TIMESTAMP
from origin.trust_reader import State

NAME = re.compile(r"([1-9][0-9]{0,11})\.([a-z0-9-]+)\.json")

KEPT_S = SNAPSHOT_LIFETIME.total_seconds()
"""Longer than any timestamp is believed, and as long as an edge may hold what it cached."""

DELETES_AT_ONCE = 500


async def sweep_trust(storage: ObjectStorage, state: State) -> int:
    """Delete what ``state`` superseded long ago, by the storage's clock; return how many.

    Raises:
        Unavailable: The storage did not answer; some may be gone, the same call goes on.
    """
    now_s = (await storage.stat(trust_key(TIMESTAMP))).modified_at
    old = [
        found.key
        async for found in storage.list(TRUST_PREFIX)
        if found.modified_at < now_s - KEPT_S and _is_superseded(found.key, state)
    ]
    for start in range(0, len(old), DELETES_AT_ONCE):
        await storage.delete(old[start : start + DELETES_AT_ONCE])
    return len(old)


def _is_superseded(key: str, state: State) -> bool:
    match = NAME.fullmatch(key.removeprefix(TRUST_PREFIX))
    if match is None or match[2] == ROOT:
        return False
    version = state.snapshot.version if match[2] == SNAPSHOT else state.version_of(match[2])
    return version is not None and int(match[1]) < version
