"""The first state of a repository of trust: who signs, and that nothing is said yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tuf.api.metadata import Root, Targets

from kit.errors import Conflict, NotFound
from kit.object_storage import ObjectStorage
from manifests.locations import trust_key
from manifests.trust_document import check_signed, parse, sign
from manifests.trust_metadata import release_with, role_keys, snapshot_with, timestamp_with
from manifests.trust_roles import METADATA_SIZE_MAX, RELEASE, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from origin.draft import OnlineSigners


class Beginning:
    """A repository to be made in ``storage`` of a root and targets that holders signed.

    What a making that was cut off left is replaced: before there is a timestamp nobody reads it.
    """

    def __init__(self, storage: ObjectStorage, root: bytes, targets: bytes, bin_bits: int) -> None:
        self._storage = storage
        self._root = root
        self._targets = targets
        self._bin_bits = bin_bits

    async def is_done(self) -> bool:
        """Tell whether the repository is there.

        Raises:
            Conflict: Another is: its root is not this one.
        """
        key = trust_key(ROOT, parse(self._root, Root, ROOT).signed.version)
        try:
            if await self._storage.get(key, size_max=METADATA_SIZE_MAX) != self._root:
                raise Conflict(
                    f"{key} is another root than the one trusted here: what is stored there is "
                    "vouched for by other keys"
                )
            await self._storage.stat(trust_key(TIMESTAMP))
        except NotFound:
            return False
        return True

    async def make(
        self,
        online: OnlineSigners,
        before_commit: Callable[[], Awaitable[None]],
        now_s: float,
    ) -> None:
        """Store all of it, the timestamp last.

        Raises:
            Denied: Root or targets are not signed by their holders.
        """
        root = parse(self._root, Root, ROOT)
        check_signed(ROOT, root, root.signed)
        targets = parse(self._targets, Targets, TARGETS)
        check_signed(TARGETS, targets, root.signed)
        keys = role_keys(targets.signed, RELEASE)
        release = release_with(None, keys, now_s, bin_bits=self._bin_bits)
        versions = {TARGETS: targets.signed.version, RELEASE: release.version}
        snapshot = snapshot_with(None, versions, now_s)
        await self._storage.put(trust_key(ROOT, root.signed.version), self._root)
        await self._storage.put(trust_key(TARGETS, targets.signed.version), self._targets)
        for role, signed in ((RELEASE, release), (SNAPSHOT, snapshot)):
            document = await asyncio.to_thread(sign, signed, online[role])
            await self._storage.put(trust_key(role, signed.version), document)
        timestamp = timestamp_with(None, snapshot.version, now_s)
        document = await asyncio.to_thread(sign, timestamp, online[TIMESTAMP])
        await before_commit()
        await self._storage.put(trust_key(TIMESTAMP), document)
