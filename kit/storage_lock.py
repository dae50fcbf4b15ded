"""One writer of what is below a prefix of object storage: whoever changes it holds its lock.

Storage has no exclusive create that can be trusted everywhere (see ``put_if_absent``), but what
was put is listed. That is enough: *raise a flag, then look; enter only if no other flag is up*.
Of two who do so at once, at least one sees the other.

1. A flag is a **claim**, an object ``{prefix}{n}-{token}`` that only its owner writes.
2. Whoever finds itself the only living claim holds the lock.
3. If there are others, the lowest key keeps its claim and looks again; the rest withdraw theirs.
4. A holder renews its claim. One not renewed in time is dead; so is one whose process is gone, if
   that can be told from here. The next holder removes dead claims *before* it counts itself
   inside, so a holder that slept too long finds its claim missing: :meth:`StorageLock.check_held`.

Ages are told by the storage's clock alone: the newest claim says what time it is there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Annotated, Literal, Self, TypeVar

import msgspec
from msgspec import Meta

from kit.clock import Clock
from kit.concurrency import to_its_end
from kit.errors import Conflict, IntegrityError, NotFound, PlayheadError, Unavailable
from kit.holder import Holder, is_gone, this_process
from kit.object_storage import ObjectStat, ObjectStorage
from kit.settings import Group
from kit.telemetry import get_logger
from kit.units import Seconds

CLAIM_SIZE_MAX = 4096

STAMP_ERROR_S = 2.0
"""Storage stamps objects to the second, some by rounding: two stamps may be this far off."""

log = get_logger("lock")
T = TypeVar("T")


class LockSettings(Group, frozen=True):
    """How patient writers are with each other."""

    expires_after: Seconds = Seconds(60)
    """A holder on another machine that was silent for so long is taken for dead."""
    renew_every: Seconds = Seconds(15)
    """Three renewals may fail in a row before the lock is lost."""
    wait: Seconds = Seconds(60)
    """How long to wait for another writer to finish."""
    look_every: Seconds = Seconds(0.5)
    """How often to look whether it has."""


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the object of a claim says."""

    format: Literal[1] = 1
    holder: Holder
    since: str
    """For people; RFC 3339."""
    expires_after_s: Annotated[float, Meta(gt=0, le=86400)]


@dataclass(frozen=True, slots=True)
class Rival:
    """Somebody else's claim; ``claim`` is None if it cannot be read."""

    key: str
    claim: Claim | None
    age_s: float
    """Since it was last renewed."""

    def __str__(self) -> str:
        if self.claim is None:
            return f"a writer whose claim {self.key} is damaged or of a newer program"
        return f"{self.claim.holder} since {self.claim.since}"


class StorageLock:
    """The right to change ``what``, from ``async with`` to its end; entered once.

    Claims are stored below ``prefix``, which ends with a slash; ``what`` is for people.

    Entering waits up to ``settings.wait`` and tells ``on_wait``, at each look, who has the lock.
    If entering fails or is cancelled nothing stays behind.

    Raises:
        Conflict: Another writer has the lock still; it is named.
        Unavailable: The storage did not answer, or lists late what it has stored.
    """

    def __init__(
        self,
        storage: ObjectStorage,
        prefix: str,
        what: str,
        *,
        clock: Clock,
        settings: LockSettings,
        command: str,
        on_wait: Callable[[Rival], None] = lambda _: None,
    ) -> None:
        self._storage = storage
        self._prefix = prefix
        self._what = what
        self._clock = clock
        self._settings = settings
        self._command = command
        self._on_wait = on_wait
        self._key: str | None = None
        self._record = b""
        self._storage_lead_s: float | None = None
        """Add it to our monotonic clock to have the storage's, or a little less."""
        self._expires_at_s = 0.0
        """By our monotonic clock; no one takes our claim for dead before."""
        self._is_lost = False
        self._leaving = asyncio.Event()
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        holder = await asyncio.to_thread(this_process, self._command)
        since = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="seconds")
        self._record = msgspec.json.encode(
            Claim(holder=holder, since=since, expires_after_s=float(self._settings.expires_after))
        )
        try:
            await self._enter()
        except BaseException:
            await self._withdraw()
            raise
        self._renewing = asyncio.create_task(self._renew_until_left(), name="storage-lock")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._renewing is not None
        self._leaving.set()
        try:
            await to_its_end(self._renewing)
        finally:
            await self._withdraw()

    async def check_held(self) -> None:
        """Do nothing if the lock is still ours. Call it right before anything becomes visible.

        Raises:
            Conflict: It was taken over, or could not be renewed in time.
            Unavailable: The storage did not answer.
        """
        assert self._key is not None
        if not self._is_lost and self._clock.monotonic() < self._expires_at_s:
            with suppress(NotFound):
                await self._storage.stat(self._key)
                return
        self._is_lost = True
        rivals = await self._living_rivals()
        taken = f"{rivals[0]} has it now" if rivals else "its claim was not renewed in time"
        raise Conflict(
            f"lost the lock of {self._what}: {taken}. Stopped here, as two writers must "
            "not meet; run the same command again"
        )

    async def storage_now(self) -> float:
        """Return what time it is by the storage's clock, in its seconds since the Unix epoch.

        It is up to ``renew_every`` in the past: an object seems no older than it is.

        Raises:
            Conflict: The lock was lost.
        """
        await self.check_held()
        assert self._key is not None
        return (await self._storage.stat(self._key)).modified_at

    async def _enter(self) -> None:
        give_up_at_s = self._clock.monotonic() + self._settings.wait
        while rivals := await self._rivals_met():
            if self._clock.monotonic() >= give_up_at_s:
                raise Conflict(
                    f"{self._what} is being changed by {rivals[0]}. Wait for it to end; "
                    "if it hangs, end it there, and the lock is free at most "
                    f"{self._settings.expires_after:g} s later"
                )
            self._on_wait(rivals[0])
            await asyncio.sleep(self._settings.look_every)

    async def _rivals_met(self) -> Sequence[Rival]:
        """Try once to enter; return who is in the way: nobody means that we are inside."""
        if self._key is None and self._storage_lead_s is not None:
            # Look before raising a flag: whoever is next needs a moment without others.
            rivals = await self._living_rivals()
            if rivals:
                return rivals
        if self._key is None:
            self._key = await self._next_key()
        await self._renew()
        rivals = await self._living_rivals(remove_dead=True)
        if rivals and rivals[0].key < self._key:
            await self._withdraw()
        elif not rivals and self._clock.monotonic() >= self._expires_at_s:
            raise Unavailable(
                f"lock of {self._what}: storage took longer than "
                f"{self._settings.expires_after:g} s to answer"
            )
        return rivals

    async def _next_key(self) -> str:
        numbers = [
            int(number)
            async for found in self._storage.list(self._prefix)
            if (number := found.key.removeprefix(self._prefix).partition("-")[0]).isdigit()
        ]
        return f"{self._prefix}{max(numbers, default=0) + 1:010}-{secrets.token_hex(8)}"

    async def _living_rivals(self, *, remove_dead: bool = False) -> list[Rival]:
        """Return living claims of others, lowest key first.

        With ``remove_dead``, and if there are none: delete the dead ones.
        """
        found = [o async for o in self._storage.list(self._prefix)]
        self._tell_time(found)
        living: list[Rival] = []
        dead: list[str] = []
        for other in found:
            if other.key == self._key:
                continue
            rival = await self._rival(other)
            if rival is None:  # withdrawn since it was listed
                continue
            if await self._is_dead(rival):
                dead.append(rival.key)
            else:
                living.append(rival)
        if remove_dead and not living and dead:
            await self._storage.delete(dead)
        return living

    def _tell_time(self, found: Sequence[ObjectStat]) -> None:
        """Learn the storage's time from our own claim, just stored."""
        if self._key is None or self._is_lost:
            return
        ours = next((o.modified_at for o in found if o.key == self._key), None)
        if ours is None:
            raise Unavailable(
                f"lock of {self._what}: {self._key} was stored and is not listed; "
                "run the same command again"
            )
        self._storage_lead_s = ours - self._clock.monotonic()

    async def _rival(self, found: ObjectStat) -> Rival | None:
        assert self._storage_lead_s is not None
        age_s = self._clock.monotonic() + self._storage_lead_s - found.modified_at
        try:
            data = await self._storage.get(found.key, size_max=CLAIM_SIZE_MAX)
            return Rival(found.key, msgspec.json.decode(data, type=Claim), age_s)
        except NotFound:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, IntegrityError):
            return Rival(found.key, None, age_s)

    async def _is_dead(self, rival: Rival) -> bool:
        ours_s = float(self._settings.expires_after)
        expires_after_s = ours_s if rival.claim is None else rival.claim.expires_after_s
        if rival.age_s > expires_after_s + STAMP_ERROR_S:
            return True
        return rival.claim is not None and await asyncio.to_thread(is_gone, rival.claim.holder)

    async def _renew(self) -> None:
        """Store our claim; from the moment we *asked*, it is good for ``expires_after``."""
        assert self._key is not None
        asked_at_s = self._clock.monotonic()
        await to_its_end(self._storage.put(self._key, self._record))
        self._expires_at_s = asked_at_s + self._settings.expires_after

    async def _renew_until_left(self) -> None:
        assert self._key is not None
        while not await self._has_left_within(self._settings.renew_every):
            good_until_s = self._expires_at_s
            try:
                await self._storage.stat(self._key)
                await self._renew()
            except NotFound:
                self._is_lost = True
            except PlayheadError as error:
                log.warning("lock.not_renewed", what=self._what, error=str(error))
            # Late is lost, even if it was stored: somebody may have entered in between.
            if self._is_lost or self._clock.monotonic() >= good_until_s:
                self._is_lost = True
                log.error("lock.lost", what=self._what)
                return

    async def _has_left_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()
        return self._leaving.is_set()

    async def _withdraw(self) -> None:
        """Remove our claim; if that fails it expires by itself."""
        if self._key is None:
            return
        key, self._key = self._key, None
        try:
            await to_its_end(self._storage.delete([key]))
        except PlayheadError as error:
            log.warning("lock.not_released", what=self._what, key=key, error=str(error))
