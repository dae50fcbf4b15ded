"""Edges as a console knows them: how each has done, and which to ask next. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kit.errors import Unavailable


@dataclass(slots=True)
class Edge:
    """An edge by URL, and how it has done. Pure."""

    url: str
    failures: int = 0
    """In a row."""
    shunned_until: float = float("-inf")
    last_error: str = ""

    def failed(self, now: float, error: Exception, penalty_s: float, penalty_max_s: float) -> None:
        """Pass this edge over for a while, at least as long as it asks for and ``penalty_max_s``.

        Requests that were under way together fail together; they count as one failure.
        """
        self.last_error = str(error)
        asked_s = error.retry_after_s if isinstance(error, Unavailable) else 0.0
        asked_until = now + min(asked_s, penalty_max_s)
        if now < self.shunned_until:
            self.shunned_until = max(self.shunned_until, asked_until)
            return
        # Beyond 2^30 the factor would only overflow; the limit is far below.
        delay_s = min(penalty_s * 2 ** min(self.failures, 30), penalty_max_s)
        self.failures += 1
        self.shunned_until = max(now + delay_s, asked_until)

    def succeeded(self) -> None:
        """Forgive everything."""
        self.failures, self.shunned_until = 0, float("-inf")


def best_edge(edges: Sequence[Edge], tried: Mapping[str, int], now: float) -> tuple[Edge, float]:
    """Return the edge to ask next, and how many seconds to wait before.

    The first in order that is not shunned; one that failed this very request (``tried``, by URL)
    only when all others did too, for it may do well otherwise and lack just this object.
    """
    edge = min(edges, key=lambda edge: (edge.shunned_until > now, tried.get(edge.url, 0)))
    if edge.shunned_until > now:
        edge = min(edges, key=lambda edge: edge.shunned_until)
    return edge, max(0.0, edge.shunned_until - now)
