"""What HTTP means, without any I/O: RFC 9110, 9111, 9211, 9213, 5861 and 8246.

One module a matter, each with its sections; the caches of this project are built on them. What a
server of objects that never change needs is here by name.
"""

from __future__ import annotations

from kit.http_semantics.ranges import (
    Full,
    Partial,
    Unsatisfiable,
    Wanted,
    content_range,
    wanted,
)
from kit.http_semantics.tags import is_known_to_client

__all__ = [
    "Full",
    "Partial",
    "Unsatisfiable",
    "Wanted",
    "content_range",
    "is_known_to_client",
    "wanted",
]
