"""Which request this is: the W3C trace context, read, made and passed on.

Source: W3C Recommendation "Trace Context", section 3.2 (``traceparent``, version 00).
"""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from dataclasses import dataclass

_IDS_AT_ONCE = 256
"""Ids made by one call of the system: half of what making one costs is the call."""

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Trace:
    """One request of a chain: all hops share ``trace_id``, each has its own ``span_id``."""

    trace_id: str
    span_id: str
    flags: str = "00"

    @property
    def header(self) -> str:
        """What to send as ``traceparent``, so that the next hop is a child of this one."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The trace of the request being served; a task started for it inherits it."""


def follow(traceparent: str | None) -> Trace:
    """Return a new span in the trace the caller named, or in a new one if it named none."""
    span_id = _ids.take(8)
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None or not match[1].strip("0") or not match[2].strip("0"):
        return Trace(_ids.take(16), span_id)
    return Trace(match[1], span_id, match[3])


def answer_header(traceparent: bytes | None) -> bytes:
    """Return the header of :func:`follow`, for whoever needs nothing else of it.

    ``traceparent`` is ASCII.
    """
    if traceparent:
        return follow(traceparent.decode("ascii")).header.encode()
    if not _fresh:
        supply = os.urandom(_IDS_AT_ONCE * 24).hex()
        _fresh.extend(
            f"00-{supply[at : at + 32]}-{supply[at + 32 : at + 48]}-00".encode()
            for at in range(0, len(supply), 48)
        )
    return _fresh.pop()


class _Ids:
    """Random ids in hex, from a supply. A child that was forked makes a supply of its own."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._left = ""
        self._at = 0

    def take(self, size: int) -> str:
        at = self._at
        self._at = end = at + 2 * size
        if end > len(self._left):
            self._left, at, self._at = os.urandom(_IDS_AT_ONCE * 8).hex(), 0, 2 * size
        return self._left[at : self._at]


_ids = _Ids()
_fresh: list[bytes] = []
"""Headers of new traces, made beforehand."""
os.register_at_fork(after_in_child=_ids.forget)
os.register_at_fork(after_in_child=_fresh.clear)
