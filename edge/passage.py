"""What a request has passed before it came here, so that nothing is asked in a circle.

A node that is asked by another asks no shield: it is taken for one. And each says in a header
which nodes a request has passed, so that one that comes back is refused.

Source: RFC 8586, ``CDN-Loop``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NewType

from kit.errors import Unavailable

HEADER = "CDN-Loop"
NODES_MAX = 4
"""An edge, its shield, an edge before the origin, and one to spare."""

NodeName = NewType("NodeName", str)
_NODE = re.compile(r"playhead;\s*node=([A-Za-z0-9_-]{1,64})")


class LoopDetected(Unavailable):
    """Upstreams or shields of several nodes name each other."""

    code = "loop-detected"
    status = 508


@dataclass(frozen=True, slots=True)
class Passage:
    """Where a request has been."""

    nodes: tuple[NodeName, ...] = ()
    is_from_sibling: bool = False
    """Whether another worker of this node asks, on behalf of its own client."""

    def header(self, *here: NodeName) -> str:
        """Return what to tell the next, which is another node if it is told who is ``here``."""
        return ", ".join(f"playhead; node={node}" for node in (*self.nodes, *here))


FROM_CLIENT = Passage()
HERE: ContextVar[Passage] = ContextVar("passage", default=FROM_CLIENT)
"""Of the request being served; fills that it begins inherit it."""


def passage_of(
    headers: Mapping[str, str], here: NodeName, *, is_from_sibling: bool = False
) -> Passage:
    """Return where a request has been, by its ``headers``.

    Raises:
        LoopDetected: Here, or at too many.
    """
    nodes = tuple(NodeName(name) for name in _NODE.findall(headers.get(HEADER, "")))
    if here in nodes:
        raise LoopDetected(
            f"this node asked for it itself: {' -> '.join(nodes)};"
            " look at edge.upstreams, edge.shields and edge.own_url of these nodes"
        )
    if len(nodes) >= NODES_MAX:
        raise LoopDetected(f"it has passed {len(nodes)} nodes, the most there may be")
    return Passage(nodes, is_from_sibling)
