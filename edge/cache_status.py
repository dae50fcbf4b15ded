"""What ``Cache-Status`` says of an answer: RFC 9211."""

from __future__ import annotations

import time

from structlog.contextvars import bind_contextvars

from edge.fill import STORED_HEADER, Flight, Landed
from edge.metrics import EdgeMetrics, FirstByte, Tier
from edge.store.located import Located

CACHE_NAME = "playhead"


class CacheStatus:
    """What ``Cache-Status`` says of one answer; told what the answer is made of.

    Source: RFC 9211, section 2.
    """

    def __init__(self, metrics: EdgeMetrics) -> None:
        """Begin with the request: how long its first byte takes is counted in ``metrics``."""
        self.text = "hit"
        self._metrics = metrics
        self._began = time.perf_counter()
        self._first: FirstByte | None = None
        self._at: Located | None = None

    def note(self, landed: Landed, *, missing_count: int = 0, count: int = 1) -> None:
        """Take in the first of ``count`` blobs, ``missing_count`` of which were not cached."""
        self._first, self._at = _first_byte(landed), landed.at
        if missing_count or landed.tier is Tier.FILL:
            self._forwarded(landed.is_collapsed, missing_count, count)
        elif self.text.startswith("hit"):
            self.text = f"hit; detail={landed.tier.value}"

    def note_coming(self, flight: Flight, *, missing_count: int = 0, count: int = 1) -> None:
        """Take in the first blob, as :meth:`note`, while upstream is still sending it."""
        self._first = FirstByte.COLLAPSED if flight.is_collapsed else FirstByte.MISS
        self._forwarded(flight.is_collapsed, missing_count, count)

    def headers_for_sibling(self) -> dict[str, str]:
        """Return the same for another worker, which may then read the blob itself."""
        told = {} if self._at is None else {STORED_HEADER: self._at.token}
        return {**self.headers(), **told}

    def headers(self) -> dict[str, str]:
        """Return the header, and put the same into the request's log line."""
        bind_contextvars(cache=self.text)
        if self._first is not None:
            waited_s = time.perf_counter() - self._began
            self._metrics.first_byte[self._first].observe(waited_s)
        return {"Cache-Status": f"{CACHE_NAME}; {self.text}"}

    def _forwarded(self, is_collapsed: bool, missing_count: int, count: int) -> None:
        self.text = "fwd=partial" if missing_count < count > 1 else "fwd=miss"
        self.text += "; collapsed" if is_collapsed else ""


def _first_byte(landed: Landed) -> FirstByte:
    if landed.tier is not Tier.FILL:
        return FirstByte(landed.tier.value)
    return FirstByte.COLLAPSED if landed.is_collapsed else FirstByte.MISS
