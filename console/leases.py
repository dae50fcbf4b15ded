"""Leases while downloading: one for a title, got once, renewed in time, shared by all requests.

How long a lease lasts is counted from its arrival by this machine's monotonic clock, so that it
does not matter what time a console believes it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from console.settings import ConsoleSettings
from kit.clock import Clock
from kit.errors import Denied, PlayheadError, Unavailable
from kit.single_flight import SingleFlight
from kit.telemetry import get_logger
from manifests.lease import HEADER
from manifests.names import TitleId

log = get_logger("console.leases")

RENEW_AT = 2 / 3
"""Of its time, a lease is renewed: of 15 minutes, five are left for an outage of who mints."""

HELD_MAX = 64
"""Leases of some 200 bytes; a player starts few titles within a quarter of an hour."""

TRUSTED_FOR_S = 1.0
"""A lease refused sooner than this is not replaced: whoever refuses it would refuse the next, and
edges gone wrong must not become a flood at who mints."""


@dataclass(frozen=True, slots=True)
class GrantedLease:
    """A lease as it was handed out."""

    token: str
    lasts_s: float


class LeaseSource(Protocol):
    """Gives leases to the player of this console."""

    async def lease(self, title: TitleId) -> GrantedLease:
        """Return a new lease for ``title``.

        Raises:
            Denied: The player may not download it (any more).
            Unavailable: Nobody can tell now.
        """


@runtime_checkable
class PlayerToken(Protocol):
    """What a source of leases is besides if somebody else mints them: the edge may ask for us."""

    async def player_token(self, edge_url: str) -> str | None:
        """Return what says to the edge who the player is; None if that edge must not see it.

        Raises:
            SettingsError: There is none.
        """


@dataclass(slots=True)
class _Held:
    token: str
    got_at: float
    renew_at: float
    ends_at: float
    """All on the monotonic clock."""


class HeldLeases:
    """What a console holds from one operation to the next: the next one starts with it. Pure.

    Whoever may not use a lease any more is told so by edges; then it is given up.
    """

    def __init__(self) -> None:
        self._held: dict[TitleId, _Held] = {}

    def get(self, title: TitleId) -> _Held | None:
        """Return the lease for ``title``, even one that is over."""
        return self._held.get(title)

    def put(self, title: TitleId, held: _Held) -> None:
        """Hold a lease; past ``HELD_MAX`` of them the one that ends first is dropped."""
        self._held[title] = held
        if len(self._held) > HELD_MAX:
            del self._held[min(self._held, key=lambda title: self._held[title].ends_at)]

    def drop(self, title: TitleId) -> None:
        """Hold the lease for ``title`` no more."""
        self._held.pop(title, None)


class Leases:
    """The leases of one operation. Belongs to one event loop; close it."""

    def __init__(
        self,
        source: LeaseSource,
        settings: ConsoleSettings,
        clock: Clock,
        held: HeldLeases | None = None,
    ) -> None:
        """Begin with what is ``held`` from before."""
        self._source = source
        self._settings = settings
        self._clock = clock
        self._held = held or HeldLeases()
        self._denials: dict[TitleId, Denied] = {}
        self._flights: SingleFlight[TitleId, _Held] = SingleFlight()

    async def token(self, title: TitleId) -> str:
        """Return a lease for ``title`` that is good now; one that ends soon is renewed meanwhile.

        Raises:
            Denied: The player may not download the title (any more).
            Unavailable: Nobody minted one for ``give_up_after``.
        """
        if title in self._denials:
            raise self._denials.pop(title)
        now, held = self._clock.monotonic(), self._held.get(title)
        if held is None or now >= held.ends_at:
            held = await self._flights.run(title, lambda: self._obtain(title))
        elif now >= held.renew_at:
            self._flights.join(title, lambda: self._renew(title, held))
        return held.token

    async def shown_at_start(self, title: TitleId, edge_url: str) -> Mapping[str, str] | None:
        """Return headers by which the edge lets this player start, asking nobody else for long.

        That is a lease where it is at hand or made on this machine, else who the player is. None
        if there is nothing to show; whoever needs a lease is told why by :meth:`token`.
        """
        held = self._held.get(title)
        if held is not None and self._clock.monotonic() < held.ends_at:
            return {HEADER: held.token}
        try:
            if isinstance(self._source, PlayerToken):
                bearer = await self._source.player_token(edge_url)
                return None if bearer is None else {"Authorization": f"Bearer {bearer}"}
            return {HEADER: (await self._ask(title)).token}
        except Denied as error:
            self._denials[title] = error
        except PlayheadError as error:
            log.debug("lease.not_at_start", title=title, code=error.code, detail=str(error))
        return None

    def adopt(self, title: TitleId, granted: GrantedLease, asked_at: float) -> None:
        """Use a lease that an edge got for us, asked for at ``asked_at``, monotonic.

        The first refusal ends it: an edge may lie, and whoever mints was not asked by us yet.
        """
        self._held.put(title, replace(_held(granted, asked_at), got_at=float("-inf")))

    def replace(self, title: TitleId, token: str) -> bool:
        """Tell whether to try again with another lease, now that an edge refused ``token``."""
        held = self._held.get(title)
        if held is None or held.token != token:
            return True
        if self._clock.monotonic() < held.got_at + TRUSTED_FOR_S:
            return False
        self._held.drop(title)
        return True

    async def close(self) -> None:
        """Give up renewals that are under way."""
        await self._flights.close()

    async def _obtain(self, title: TitleId) -> _Held:
        """Ask for a lease until there is one: without it nothing can go on."""
        settings = self._settings
        give_up_at = self._clock.monotonic() + settings.give_up_after
        wait_s = float(settings.penalty)
        while True:
            try:
                return await self._ask(title)
            except Unavailable as error:
                if self._clock.monotonic() + wait_s >= give_up_at:
                    raise Unavailable(
                        f"{title}: no lease for {settings.give_up_after:g} s;"
                        f" the same command goes on from here. {error}"
                    ) from error
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, settings.penalty_max)

    async def _renew(self, title: TitleId, held: _Held) -> _Held:
        """Ask for a new lease while the old one is good: a failure costs nothing yet."""
        try:
            return await self._ask(title)
        except Unavailable as error:
            log.warning("lease.not_renewed", title=title, detail=str(error))
            held.renew_at = self._clock.monotonic() + self._settings.penalty
            raise
        except Denied as error:
            self._held.drop(title)
            self._denials[title] = error
            raise

    async def _ask(self, title: TitleId) -> _Held:
        # From before asking: a lease ends where it was minted, whatever time it took to come.
        now = self._clock.monotonic()
        held = _held(await self._source.lease(title), now)
        self._held.put(title, held)
        return held


def _held(granted: GrantedLease, asked_at: float) -> _Held:
    lasts_s = granted.lasts_s
    return _Held(granted.token, asked_at, asked_at + RENEW_AT * lasts_s, asked_at + lasts_s)
