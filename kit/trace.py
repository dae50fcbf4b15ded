"""Which request this is: the W3C trace context, read, made and passed on.

Source: W3C Recommendation "Trace Context", section 3.2 (``traceparent``, version 00).
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

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
    span_id = secrets.token_hex(8)
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None or not match[1].strip("0") or not match[2].strip("0"):
        return Trace(secrets.token_hex(16), span_id)
    return Trace(match[1], span_id, match[3])
