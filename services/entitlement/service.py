"""The entitlement service: mints leases for owners, takes them back, and tells nodes at once.

The ledger file is what holds; memory follows it. A revocation is durable before it is told, and
told before whoever revoked gets an answer. What another program of this machine writes into the
file is told as soon as it is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from random import Random

from kit.clock import Clock
from kit.errors import Denied, PlayheadError, Unavailable
from kit.server_sent_events import BEAT, ServerEvent
from kit.telemetry import get_logger
from manifests.lease import TOKEN_ID_SIZE, Subject
from manifests.names import TitleId
from manifests.revocation_feed import CURRENT, revoked_events
from services.entitlement.broadcast import Broadcast
from services.entitlement.ledger import Ledger, LedgerView, give_back, news, revoke
from services.entitlement.ledger_file import LedgerFile
from services.entitlement.minting import Minted, MintingKey, mint
from services.entitlement.ownership import Ownership
from services.entitlement.settings import EntitlementSettings

log = get_logger("entitlement")

BEAT_S = 1.0
"""Between signs of life: a node knows after a few that it hears nothing any more."""

BEHIND_MAX = 256
"""Events that a node may be behind before it has to begin anew."""


class NotOwned(Denied):
    """The player does not own the title, or it was taken back."""

    code = "not-owned"


class Entitlement:
    """One service. Belongs to one event loop; :meth:`follow` runs beside the others."""

    def __init__(
        self,
        settings: EntitlementSettings,
        ledger_file: LedgerFile,
        keys: MintingKey,
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        self._settings = settings
        self._file = ledger_file
        self._keys = keys
        self._clock = clock
        self._random = random
        self._changes = asyncio.Lock()
        self._view = LedgerView(Ledger())
        self._is_read = False
        self.broadcast = Broadcast(listeners_max=settings.listeners_max, waiting_max=BEHIND_MAX)

    def view(self) -> LedgerView:
        """Return the ledger as it is now."""
        return self._view

    async def mint(self, ownership: Ownership, subject: Subject, title: TitleId) -> Minted:
        """Return a lease of ``subject`` for ``title``.

        Raises:
            NotOwned: The title is not theirs.
            Unavailable: The ledger was not read yet.
        """
        self._require_read()
        now_s = self._clock.now()
        # Before anybody is asked: a revocation meanwhile has a higher epoch, so it ends this lease.
        epoch = self._view.lease_epoch(subject, title, now_s)
        if self._view.is_taken(subject, title) or not await ownership.owns(subject, title):
            raise NotOwned(f"{title}: {subject} does not own it (any more); see the library")
        return mint(
            await asyncio.to_thread(self._keys.signing),
            subject,
            title,
            epoch=epoch,
            lifetime_s=int(self._settings.lease_for),
            now_s=now_s,
            token_id=self._random.randbytes(TOKEN_ID_SIZE),
        )

    async def revoke(self, subject: Subject, title: TitleId) -> int:
        """Take a title from a player; return the epoch below which its leases are over.

        When this returns, it is durable and all who listen were told.

        Raises:
            OutOfSpace: It cannot be made durable; nothing changed.
        """
        now_s = self._clock.now()
        await self._change(lambda ledger: revoke(ledger, subject, title, now_s))
        epoch = self._view.lease_epoch(subject, title, 0)
        log.info("lease.revoked", subject=subject, title=title, epoch=epoch)
        return epoch

    async def give_back(self, subject: Subject, title: TitleId) -> None:
        """Let a player have leases for a title again."""
        now_s = self._clock.now()
        await self._change(lambda ledger: give_back(ledger, subject, title, now_s))
        log.info("title.granted", subject=subject, title=title)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield what a node is to be told, from what is revoked now on; ends if it falls behind.

        Raises:
            ListenersFull: As many listen as may.
            Unavailable: The ledger was not read yet.
        """
        self._require_read()
        with self.broadcast.listening() as listener:
            # Listening first: what is revoked from here on comes twice rather than never.
            for event in revoked_events(self._view.ledger.current(self._clock.now())):
                yield event.encode()
            yield ServerEvent(CURRENT, b"{}").encode()
            while not listener.is_behind:
                yield await listener.next_within(BEAT_S) or BEAT

    async def follow(self) -> None:
        """Take in what other programs write into the file, until cancelled."""
        stamp: object = ()
        while True:
            try:
                seen = await asyncio.to_thread(self._file.stamp)
                if seen != stamp:
                    await self._reread()
                    stamp = seen
            except PlayheadError as error:
                # What was read before holds on: a damaged file gives nothing back.
                log.warning("ledger.unreadable", code=error.code, detail=str(error))
            await asyncio.sleep(self._settings.look_every)

    async def _reread(self) -> None:
        async with self._changes:
            ledger = await asyncio.to_thread(self._file.read)
            await self._take(ledger)

    async def _change(self, edit: Callable[[Ledger], Ledger]) -> None:
        async with self._changes:
            ledger = await asyncio.to_thread(self._file.change, edit)
            await self._take(ledger)

    async def _take(self, ledger: Ledger) -> None:
        before = self._view.ledger
        if ledger == before and self._is_read:
            return
        self._view, events = await asyncio.to_thread(_prepare, before, ledger)
        self._is_read = True
        for event in events:
            self.broadcast.tell(event)

    async def check(self) -> None:
        """Do nothing if what was revoked is known.

        Raises:
            Unavailable: It is not.
        """
        self._require_read()

    def _require_read(self) -> None:
        if not self._is_read:
            raise Unavailable("what was revoked is not known here yet")


def _prepare(before: Ledger, after: Ledger) -> tuple[LedgerView, list[bytes]]:
    return LedgerView(after), [event.encode() for event in revoked_events(news(before, after))]
