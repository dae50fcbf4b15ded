"""Follow a stream of events for as long as the process lives: connect, listen, connect again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random

from kit.clock import Clock
from kit.errors import Denied, PlayheadError, Unavailable
from kit.http_client import HttpClient
from kit.server_sent_events import EventReader, ServerEvent
from kit.telemetry import get_logger

log = get_logger("event_stream")

EVENT_SIZE_MAX = 1 << 20

FIRST_WAIT_S, WAIT_MAX_S = 0.1, 5.0
"""After a break: soon, for most are short; doubled each time, up to what an outage may cost after
its end. Spread by half, so that the followers of one source do not return as one."""


class EventStream:
    """One source of events. Belongs to one event loop."""

    def __init__(
        self,
        url: str,
        client: HttpClient,
        *,
        headers: Callable[[], Mapping[str, str]],
        clock: Clock,
        random: Random,
    ) -> None:
        """Ask ``client`` for ``url``, each time with fresh ``headers()``.

        The client's ``stall_after`` is how long a source may be silent.
        """
        self._url = url
        self._client = client
        self._headers = headers
        self._clock = clock
        self._random = random
        self._heard_at: float | None = None
        self._wait_s = FIRST_WAIT_S
        self._is_failing = False

    def silent_s(self) -> float:
        """Return how long ago the source was last heard, in seconds; infinite if never."""
        if self._heard_at is None:
            return float("inf")
        return max(0.0, self._clock.monotonic() - self._heard_at)

    async def follow(self, take: Callable[[ServerEvent], None]) -> None:
        """Give every event to ``take``, until cancelled.

        What ``take`` raises as one of our errors ends the connection, not the following.
        """
        while True:
            try:
                await self._listen(take)
            except PlayheadError as error:
                self._note(error)
            await asyncio.sleep(self._wait_s * self._random.uniform(0.5, 1.5))
            self._wait_s = min(2 * self._wait_s, WAIT_MAX_S)

    async def _listen(self, take: Callable[[ServerEvent], None]) -> None:
        """Connect and listen until the connection breaks, or ends."""
        reader = EventReader(size_max=EVENT_SIZE_MAX)
        async with self._client.get(self._url, headers=self._headers()) as reply:
            if reply.status in {401, 403}:
                raise Denied(f"{self._url}: answered {reply.status}")
            reply.require_content()
            async for piece in reply.pieces():
                for event in reader.feed(piece):
                    take(event)
                self._heard()
        raise Unavailable(f"{self._url}: the stream ended")

    def _heard(self) -> None:
        self._heard_at = self._clock.monotonic()
        self._wait_s = FIRST_WAIT_S
        if self._is_failing:
            self._is_failing = False
            log.info("stream.heard_again", url=self._url)

    def _note(self, error: PlayheadError) -> None:
        """Log the first of failures in a row; the metric tells how long it lasts."""
        if not self._is_failing:
            self._is_failing = True
            log.warning("stream.lost", url=self._url, code=error.code, detail=str(error))
