"""One request to the upstream for all who ask for the same meanwhile: RFC 9111, section 4."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeAlias

from edge.generic.fill import Fill
from edge.generic.streams import Source
from kit.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Failed:
    """There was no good answer: none at all, or one that says that the server failed."""

    failure: Unavailable | Source


Landing: TypeAlias = Fill | Failed | None
"""What others may follow; None where the response is not for them, or is stored already."""


class Flight:
    """One request to the upstream whose response may be stored for a key."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.is_void = False
        """What it brings may be outdated: something invalidated the key since it began."""
        self.landed: asyncio.Future[Landing] = asyncio.get_running_loop().create_future()
        """Known once the head of the response is."""

    def land(self, landing: Landing) -> None:
        """Tell those who wait; the first word counts."""
        if not self.landed.done():
            self.landed.set_result(landing)


class Flights:
    """Those under way, and which of them others may wait for."""

    def __init__(self) -> None:
        self._joinable: dict[str, Flight] = {}
        self._all: dict[str, set[Flight]] = {}

    def joinable(self, key: str) -> Flight | None:
        """Return the one to wait for."""
        return self._joinable.get(key)

    def begin(self, key: str, *, is_joinable: bool) -> Flight:
        """Return a new one; others may wait for it if there is none yet that they may."""
        flight = Flight(key)
        self._all.setdefault(key, set()).add(flight)
        if is_joinable:
            self._joinable.setdefault(key, flight)
        return flight

    def end(self, flight: Flight, landing: Landing = None) -> None:
        """Let nobody wait any more, and forget it."""
        flight.land(landing)
        under_way = self._all.get(flight.key)
        if under_way is not None:
            under_way.discard(flight)
            if not under_way:
                del self._all[flight.key]
        if self._joinable.get(flight.key) is flight:
            del self._joinable[flight.key]

    def void(self, key: str) -> None:
        """Store nothing that was asked for until now."""
        for flight in self._all.get(key, ()):
            flight.is_void = True
        self._joinable.pop(key, None)
