"""Which of a node's processes this is."""

from __future__ import annotations

from dataclasses import dataclass
from secrets import token_hex

from edge.passage import NodeName

WORKERS_MAX = 16
"""A name's first byte, shared out in so many parts, says whose it is."""


@dataclass(frozen=True, slots=True)
class Crew:
    """One worker among those of its node."""

    index: int = 0
    """From 0."""
    count: int = 1
    restarts: int = 0
    """How often this one was started again."""
    node: NodeName | None = None
    """What the node calls itself to others, the same in all its workers; None: make one up."""


ALONE = Crew()


def new_node_name() -> NodeName:
    """Return a name that no other node has."""
    return NodeName(token_hex(8))
