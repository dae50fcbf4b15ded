"""Many callers, one flight: concurrent calls for a key share one task that none of them owns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Runs at most one task per key at a time. Belongs to one event loop.

    A flight is not a caller's: a caller that is cancelled leaves it running, for the others and
    for whatever it brings home. So a flight needs a deadline of its own.
    """

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[V]] = {}

    def __contains__(self, key: K) -> bool:
        """Tell whether a flight for ``key`` is under way."""
        return key in self._flights

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Future[V]:
        """Return the flight for ``key``, begun by ``start()`` if there is none.

        Await it only through :func:`asyncio.shield`, or a caller's end becomes everybody's.
        """
        flight = self._flights.get(key)
        if flight is None or flight.done():
            flight = asyncio.create_task(start())
            self._flights[key] = flight
            flight.add_done_callback(lambda landed: self._land(key, landed))
        return flight

    async def run(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Return what the flight for ``key`` returns, or raise what it raises."""
        return await asyncio.shield(self.join(key, start))

    async def finish(self) -> None:
        """Wait until every flight has ended by itself."""
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    async def close(self) -> None:
        """Cancel every flight and wait until all have ended."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _land(self, key: K, flight: asyncio.Task[V]) -> None:
        if self._flights.get(key) is flight:  # and not one begun since
            del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # seen: nobody need be waiting for a failure
