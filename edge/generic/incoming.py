"""A request as the listener read it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from edge.generic.upstream import Interim
from kit.http_semantics.messages import RequestHead


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request, and what is needed to answer it."""

    head: RequestHead
    """Without what belongs to the hop it came over."""
    host: str
    """Whom it is for: the authority of its target URI."""
    body: AsyncIterator[bytes] | None
    interim: Interim
    """Sends a 1xx to the client."""
