"""How an origin or an edge hears what was revoked: from the service that mints, or from this disk.

Embedded, what was revoked is in a file of this machine. Elsewhere it is told by the entitlement
service, first all that still matters, then each as it happens. While nothing is heard, what is
known stays refused, and leases end by themselves: readers go on, no lease lasts longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from random import SystemRandom
from typing import Protocol

from msgspec import structs
from prometheus_client import Gauge

from kit.clock import Clock
from kit.errors import PlayheadError
from kit.event_stream import EventStream
from kit.http_client import HttpClient
from kit.http_settings import ClientSettings
from kit.server_sent_events import ServerEvent
from kit.service import Binder
from kit.telemetry import get_logger
from kit.units import Seconds
from manifests.lease import HEADER
from manifests.lease_gate import Gate
from manifests.revocation_feed import BATCH_MAX, CURRENT, PATH, Revoked, revocations_in
from playhead.gatekeeping import Gatekeeper
from playhead.lease_files import ledger_file
from playhead.settings import LeaseSettings, Settings
from services.entitlement.ledger_file import LedgerFile, Stamp

log = get_logger("revocations")

FIRST_WITHIN_S = 2.0
"""So long a node waits at its start for what was revoked; then it serves without."""

PATIENCE = ClientSettings(connect_within=Seconds(2), stall_after=Seconds(4), connections_max=1)
"""The source gives a sign of life every second."""


class Source(Protocol):
    """Tells a gate what was revoked, until cancelled."""

    def silent_s(self) -> float:
        """Return for how many seconds nothing was heard; infinite if never anything was."""

    async def follow(self, gate: Gate, known: asyncio.Event) -> None:
        """Tell ``gate``; set ``known`` once it knows all that still matters."""


def follow_revocations(
    binder: Binder, settings: Settings, gatekeeper: Gatekeeper, clock: Clock
) -> None:
    """Let the gate of ``binder`` hear what is revoked, from before its first request on."""
    source: Source
    if settings.leases.feed:
        source = FromService(settings.leases, gatekeeper, clock)
    else:
        source = FromFile(ledger_file(settings), settings.entitlement.look_every, clock)
    known = asyncio.Event()

    @asynccontextmanager
    async def begin() -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(FIRST_WITHIN_S):
                await known.wait()
        except TimeoutError:
            log.warning("revocations.unknown", advice="serving; leases end by themselves")
        yield

    binder.background("revocations", lambda: source.follow(gatekeeper.gate, known))
    binder.lifetime(begin)
    name, registry = f"playhead_{binder.name}_revocations", binder.registry
    silent = Gauge(
        f"{name}_silent_seconds", "Since whoever revokes leases was last heard.", registry=registry
    )
    silent.set_function(source.silent_s)
    count = Gauge(f"{name}_known", "Revocations in force.", registry=registry)
    count.set_function(lambda: gatekeeper.gate.revocation_count)


class FromFile:
    """Looks at the ledger of this machine."""

    def __init__(self, file: LedgerFile, look_every_s: float, clock: Clock) -> None:
        self._file = file
        self._look_every_s = look_every_s
        self._clock = clock
        self._heard_at = float("-inf")

    def silent_s(self) -> float:
        """Return how long ago the file was readable."""
        return self._clock.monotonic() - self._heard_at

    async def follow(self, gate: Gate, known: asyncio.Event) -> None:
        """Tell ``gate`` what the file says, whenever it was replaced."""
        stamp: Stamp | object = object()
        said = ""
        while True:
            try:
                seen = await asyncio.to_thread(self._file.stamp)
                if seen != stamp:
                    ledger = await asyncio.to_thread(self._file.read)
                    await _tell(gate, ledger.revoked)
                    stamp = seen
                self._heard_at, said = self._clock.monotonic(), ""
                known.set()
            except PlayheadError as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("ledger.unreadable", code=error.code, detail=said)
            await asyncio.sleep(self._look_every_s)


async def _tell(gate: Gate, revoked: Sequence[Revoked]) -> None:
    """Tell all, the newest first, and let others go on in between."""
    left = reversed(revoked)
    while batch := list(islice(left, BATCH_MAX)):
        gate.use_revocations(each.revocation for each in batch)
        await asyncio.sleep(0)


class FromService:
    """Listens to the entitlement service."""

    def __init__(self, settings: LeaseSettings, gatekeeper: Gatekeeper, clock: Clock) -> None:
        self._client = HttpClient(structs.replace(PATIENCE, ca_file=settings.ca_file))
        self._stream = EventStream(
            settings.feed.rstrip("/") + PATH,
            self._client,
            headers=lambda: {HEADER: gatekeeper.node_lease()},
            clock=clock,
            random=SystemRandom(),
        )

    def silent_s(self) -> float:
        """Return how long ago the service was last heard."""
        return self._stream.silent_s()

    async def follow(self, gate: Gate, known: asyncio.Event) -> None:
        """Tell ``gate`` what the service tells."""

        def take(event: ServerEvent) -> None:
            gate.use_revocations(revocations_in(event))
            if event.name == CURRENT:
                known.set()

        async with self._client:
            await self._stream.follow(take)
