"""What was handed in and is not what it should be: kept aside, for people, and never served.

``quarantine/{publisher}/{milliseconds}-{random}.bin`` holds the bytes, ``.json`` beside it why.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from kit.buffers import Buffer
from kit.clock import Clock
from kit.errors import InvalidInput, PlayheadError
from kit.object_storage import ObjectStorage
from kit.telemetry import get_logger
from manifests.trust_roles import PublisherId
from origin.publishing.caller import Caller

PREFIX = "quarantine/"

log = get_logger("origin")


class Quarantined(InvalidInput):
    """What was handed in is not what its key says; it was kept aside and is not served."""

    code = "quarantined"


class Quarantine:
    """Keeps the last few of each publisher."""

    def __init__(
        self,
        storage: ObjectStorage,
        *,
        count_max: int,
        clock: Clock,
        random: Callable[[int], bytes],
    ) -> None:
        self._storage = storage
        self._count_max = count_max
        self._clock = clock
        self._random = random

    async def take(self, caller: Caller, key: str, data: Buffer, why: PlayheadError) -> Quarantined:
        """Keep ``data`` aside and return what to raise; that nothing was stored is certain."""
        name = f"{int(self._clock.now() * 1000):014}-{self._random(8).hex()}"
        place = f"{PREFIX}{caller.scope.publisher}/{name}"
        reason = {
            "key": key,
            "why": str(why),
            "publisher": caller.scope.publisher,
            "grant": caller.grant_id,
            "address": caller.address,
            "size": len(data),
        }
        try:
            await self._storage.put(f"{place}.bin", data)
            await self._storage.put(f"{place}.json", msgspec.json.encode(reason))
            await self._drop_oldest(caller.scope.publisher_id)
        except PlayheadError as error:
            log.warning("quarantine.failed", key=key, error=str(error))
        log.warning("upload.quarantined", key=key, place=place, why=str(why))
        return Quarantined(f"{why}; nothing was stored under {key}, it is kept as {place}.bin")

    async def sweep(self, expire_after_s: float) -> int:
        """Delete what is older; return how many objects that were."""
        return await delete_older(self._storage, PREFIX, self._clock.now() - expire_after_s)

    async def _drop_oldest(self, publisher: PublisherId) -> None:
        prefix = f"{PREFIX}{publisher}/"
        keys = [stat.key async for stat in self._storage.list(prefix)]
        await self._storage.delete(keys[: -2 * self._count_max])


async def delete_older(storage: ObjectStorage, prefix: str, oldest_kept_s: float) -> int:
    """Delete objects that storage says are older; return how many."""
    old = [s.key async for s in storage.list(prefix) if s.modified_at < oldest_kept_s]
    await storage.delete(old)
    return len(old)
