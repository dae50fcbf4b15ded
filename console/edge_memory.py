"""What a console remembers of edges beyond one operation, and beyond one process. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kit.address_book import HOSTS_MAX, AddressBook, KnownHost
from kit.clock import Clock

EDGES_MAX = 64
"""More than anybody names in settings; the longest unused is forgotten."""

LACKS_START_FOR_S = 24 * 3600
"""An edge is replaced by a newer one sooner or later; asking again costs one request a day."""


class LacksStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An edge that had never heard of start calls."""

    url: Annotated[str, Meta(min_length=1, max_length=2048)]
    noted_at: float
    """Unix epoch, seconds."""


class Remembered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it, as it is kept between processes."""

    format: Literal[1] = 1
    lacks_start: Annotated[tuple[LacksStart, ...], Meta(max_length=EDGES_MAX)] = ()
    hosts: Annotated[tuple[KnownHost, ...], Meta(max_length=HOSTS_MAX)] = ()


class EdgeMemory:
    """Belongs to one console and its event loop. What is in it is a hint, and expires in a day."""

    def __init__(self, clock: Clock, remembered: Remembered | None = None) -> None:
        """Begin with what was ``remembered`` before."""
        known = remembered or Remembered()
        self._clock = clock
        self._lacks_start = OrderedDict((edge.url, edge.noted_at) for edge in known.lacks_start)
        self.addresses = AddressBook(clock, known.hosts)

    def remembered(self) -> Remembered:
        """Return what is to be kept for the next process."""
        lacking = [LacksStart(*noted) for noted in self._lacks_start.items()]
        lacking = [edge for edge in lacking if not self.may_know_start(edge.url)]
        return Remembered(lacks_start=tuple(lacking), hosts=self.addresses.known())

    def may_know_start(self, url: str) -> bool:
        """Tell whether the edge at ``url`` is worth a start call."""
        noted_at = self._lacks_start.get(url)
        return noted_at is None or not 0 <= self._clock.now() - noted_at < LACKS_START_FOR_S

    def note_no_start(self, url: str) -> None:
        """Remember that the edge at ``url`` has never heard of start calls."""
        self._lacks_start[url] = self._clock.now()
        self._lacks_start.move_to_end(url)
        while len(self._lacks_start) > EDGES_MAX:
            self._lacks_start.popitem(last=False)
