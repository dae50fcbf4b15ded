"""What a console remembers of edges beyond one operation. Pure."""

from __future__ import annotations

from collections import OrderedDict

from kit.clock import Clock

EDGES_MAX = 64
"""More than anybody names in settings; the longest unused is forgotten."""

LACKS_START_FOR_S = 24 * 3600
"""An edge is replaced by a newer one sooner or later; asking again costs one request a day."""


class EdgeMemory:
    """Belongs to one console and its event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lacks_start: OrderedDict[str, float] = OrderedDict()

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
