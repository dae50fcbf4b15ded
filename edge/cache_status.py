"""What ``Cache-Status`` says of an answer: RFC 9211."""

from __future__ import annotations

from structlog.contextvars import bind_contextvars

from edge.fill import Landed
from edge.metrics import Tier

CACHE_NAME = "playhead"


class CacheStatus:
    """What ``Cache-Status`` says of one answer; told what the answer is made of.

    Source: RFC 9211, section 2.
    """

    def __init__(self) -> None:
        self.text = "hit"

    def note(self, landed: Landed, *, missing_count: int = 0, count: int = 1) -> None:
        """Take in the first of ``count`` blobs, ``missing_count`` of which were not cached."""
        if missing_count or landed.tier is Tier.FILL:
            self.text = "fwd=partial" if missing_count < count > 1 else "fwd=miss"
            self.text += "; collapsed" if landed.is_collapsed else ""
        elif self.text.startswith("hit"):
            self.text = f"hit; detail={landed.tier.value}"

    def headers(self) -> dict[str, str]:
        """Return the header, and put the same into the request's log line."""
        bind_contextvars(cache=self.text)
        return {"Cache-Status": f"{CACHE_NAME}; {self.text}"}
