"""Operators' questions to all workers of an edge, and their answers put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
from aiohttp import web

from edge.operating.messages import Drained, Explanation, Warm
from edge.upstream.siblings import Siblings
from kit.http_server import is_from_sibling

T = TypeVar("T")

WORK_WITHIN_S = 30.0
"""A worker that drops or pins millions of blobs takes seconds."""
NEVER_SEEN = "never seen"


class Crew:
    """The other workers, for whoever answers an operator."""

    def __init__(self, siblings: Siblings) -> None:
        self._siblings = siblings

    async def all(self, request: web.Request, own: T, kind: type[T], body: bytes = b"") -> list[T]:
        """Return our own answer and, if an operator asks us and not a sibling, those of others."""
        if is_from_sibling(request):
            return [own]
        return [own, *await self.ask(request.method, request.path, kind, body)]

    async def ask(self, method: str, path: str, kind: type[T], body: bytes = b"") -> list[T]:
        """Return what the other workers answer; who has nothing of this kind is left out."""
        answers = await self._siblings.ask_all(method, path, body, WORK_WITHIN_S)
        found = [_decoded(answer, kind) for answer in answers]
        return [answer for answer in found if answer is not None]


def merged_drain(found: Sequence[Drained]) -> Drained:
    """Return what is under way in all workers."""
    running = sum(each.requests_running for each in found)
    return msgspec.structs.replace(found[0], requests_running=running)


def best_explanation(found: Sequence[Explanation]) -> Explanation:
    """Return what the worker says that knows most: has it, or knows what became of it."""
    return max(found, key=lambda each: (each.cached, each.gone not in ("", NEVER_SEEN)))


def by_age(warms: Sequence[Sequence[Warm]]) -> list[Warm]:
    """Return the warms of all workers, the oldest first."""
    return sorted((warm for each in warms for warm in each), key=lambda warm: warm.begun_s)


def _decoded(answer: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # a problem document: it has no such thing, or cannot
