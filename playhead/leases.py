"""Leases on this machine: where its consoles get theirs, and what its operator decides."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

import msgspec

from console.entitlement import EntitlementClient
from console.leases import GrantedLease, LeaseSource
from kit.clock import Clock, SystemClock
from kit.errors import NotFound, SettingsError
from kit.http_client import HttpClient
from kit.key_ring_file import KeyRingFile
from manifests.lease import TOKEN_ID_SIZE, Subject
from manifests.names import TitleId
from playhead.lease_files import lease_keys, ledger_file
from playhead.settings import Settings
from services.entitlement.ledger import LedgerView, Taken, give_back, revoke
from services.entitlement.ledger_file import LedgerFile
from services.entitlement.local_ownership import LOCAL_PLAYER
from services.entitlement.minting import Minted, mint
from services.entitlement.service import NotOwned


def lease_source(settings: Settings, http: HttpClient) -> LeaseSource:
    """Return where a console gets its leases: the service of its settings, or this machine."""
    chosen = settings.console.entitlement
    if chosen.url:
        token_file = settings.data / settings.keys.dir / chosen.token_file
        return EntitlementClient(chosen.url, token_file, http, through_edges=chosen.through_edges)
    clock = SystemClock()
    return LocalLeases(settings, lease_keys(settings, clock), ledger_file(settings), clock)


class LocalLeases:
    """Mints with the keys of this machine, for its player, what its operator has not taken."""

    def __init__(
        self, settings: Settings, keys: KeyRingFile, ledger: LedgerFile, clock: Clock
    ) -> None:
        self._lifetime_s = int(settings.entitlement.lease_for)
        self._keys = keys
        self._ledger = ledger
        self._clock = clock

    async def lease(self, title: TitleId) -> GrantedLease:
        """Return a new lease for ``title``.

        Raises:
            NotOwned: It was taken away.
            SettingsError: This machine has no keys.
        """
        minted = await asyncio.to_thread(self._mint, title)
        return GrantedLease(minted.lease, minted.expires_in_s)

    def _mint(self, title: TitleId) -> Minted:
        now_s = self._clock.now()
        view = LedgerView(self._ledger.read())
        if view.is_taken(LOCAL_PLAYER, title):
            raise NotOwned(
                f"{title}: it was taken from the player of this machine;"
                f" `playhead leases grant {title}` gives it back"
            )
        self._require_keys()
        return mint(
            self._keys.signing(),
            LOCAL_PLAYER,
            title,
            epoch=view.lease_epoch(LOCAL_PLAYER, title, now_s),
            lifetime_s=self._lifetime_s,
            now_s=now_s,
            token_id=secrets.token_bytes(TOKEN_ID_SIZE),
        )

    def _require_keys(self) -> None:
        """Refuse to make the first keys: nobody would believe leases by them."""
        try:
            self._keys.read()
        except NotFound as error:
            raise SettingsError(
                f"{self._keys.path} does not exist, so this machine serves no titles: name who"
                " gives leases by the setting console.entitlement.url, or the folder of the"
                " server by the setting data"
            ) from error


class Overview(msgspec.Struct, frozen=True):
    """What holds of leases on this machine."""

    key_ids: tuple[str, ...]
    """Believed now, the oldest first."""
    signing_key_id: str | None
    taken: tuple[Taken, ...]
    revocations: int
    """That still matter."""


@dataclass(frozen=True, slots=True)
class LeaseOffice:
    """What an operator decides about leases of this machine. Every method blocks."""

    keys: KeyRingFile
    ledger: LedgerFile
    clock: Clock

    def revoke(self, subject: Subject, title: TitleId) -> None:
        """Take ``title`` from a player; nodes of this machine know within half a second."""
        now_s = self.clock.now()
        self.ledger.change(lambda ledger: revoke(ledger, subject, title, now_s))

    def grant(self, subject: Subject, title: TitleId) -> None:
        """Let a player have leases for ``title`` again."""
        now_s = self.clock.now()
        self.ledger.change(lambda ledger: give_back(ledger, subject, title, now_s))

    def overview(self) -> Overview:
        """Return what holds now.

        Raises:
            NotFound: There are no keys yet.
        """
        now_s, ring, ledger = self.clock.now(), self.keys.read(), self.ledger.read()
        signing = ring.signing(now_s)
        return Overview(
            tuple(ring.believed(now_s)),
            None if signing is None else signing.id,
            ledger.taken,
            len(ledger.current(now_s)),
        )


def lease_office(settings: Settings) -> LeaseOffice:
    """Return the office of this machine."""
    clock = SystemClock()
    return LeaseOffice(lease_keys(settings, clock), ledger_file(settings), clock)
