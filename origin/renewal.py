"""Sign anew in the background what expires soon: the timestamp hourly, the rest in its time.

Once a day it also deletes what was superseded (``trust_sweep.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Gauge

from kit.clock import Clock
from kit.errors import PlayheadError
from kit.telemetry import get_logger
from manifests.trust_expiry import left_s
from origin.registry import Registry

LOOK_EVERY_S = 300.0
"""A look that finds nothing due costs two reads."""
AGAIN_AFTER_S = 30.0
"""After a failure, such as a publisher who has the lock. There are 47 hours left to succeed in."""

SWEEP_EVERY_S = 86400.0
"""A listing of all metadata: some thousand names."""

log = get_logger("origin")


class Renewal:
    """Renews for as long as the process runs; tells metrics how much time is left."""

    def __init__(
        self,
        open_registry: Callable[[], Awaitable[Registry | None]],
        *,
        clock: Clock,
        metrics: CollectorRegistry,
    ) -> None:
        """``open_registry`` returns None if the platform's keys are not on this machine."""
        self._open_registry = open_registry
        self._clock = clock
        self._sweep_at_s = clock.monotonic()
        self._left_s = Gauge(
            "playhead_origin_trust_expires_seconds",
            "Seconds until consoles refuse the timestamp of trust, if it is not signed anew.",
            registry=metrics,
        )

    async def run(self) -> None:
        """Renew until cancelled."""
        registry: Registry | None = None
        while True:
            pause_s = LOOK_EVERY_S
            try:
                registry = registry or await self._open_registry()
                if registry is None:
                    log.info("trust.not_renewed_here", why="the platform's keys are elsewhere")
                    await asyncio.Event().wait()
                    return
                await self.renew(registry)
            except PlayheadError as error:
                log.warning("trust.not_renewed", error=str(error))
                pause_s = AGAIN_AFTER_S
            await asyncio.sleep(pause_s)

    async def renew(self, registry: Registry) -> None:
        """Renew once what is due."""
        if self._clock.monotonic() >= self._sweep_at_s:
            await registry.sweep()
            self._sweep_at_s = self._clock.monotonic() + SWEEP_EVERY_S
        renewed = await registry.renew()
        if renewed:
            log.info("trust.renewed", roles=len(renewed))
        state = await registry.state()
        self._left_s.set(left_s(state.timestamp, self._clock.now()))
