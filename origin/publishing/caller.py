"""Who asks: the publisher that a request's token names, and what it was granted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import web

from kit.http_body import bearer_of
from kit.http_server import Overloaded
from manifests.publishing_scope import Scope

CheckToken: TypeAlias = Callable[[str], tuple[Scope, str]]
"""Returns what a token grants, and by which grant; raises Unauthenticated."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A publisher's machine, as far as its token says."""

    scope: Scope
    grant_id: str
    address: str


Handler: TypeAlias = Callable[[Caller, web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """Lets in who is known, so many requests at once: consoles are served by the same process."""

    def __init__(self, check_token: CheckToken, requests_max: int, per_publisher_max: int) -> None:
        self._check_token = check_token
        self._requests_max = requests_max
        self._per_publisher_max = per_publisher_max
        self._running: Counter[str] = Counter()

    def known(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return ``handler`` for those who have a good token; nothing else is looked at before."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            scope, grant_id = self._check_token(bearer_of(request))
            with self._counted(scope.publisher):
                return await handler(Caller(scope, grant_id, request.remote or ""), request)

        return guarded

    @contextmanager
    def _counted(self, publisher: str) -> Iterator[None]:
        if self._running[publisher] >= self._per_publisher_max:
            raise Overloaded(
                f"{self._per_publisher_max} requests of {publisher} are being served, the most "
                "that one publisher may have"
            )
        if self._running.total() >= self._requests_max:
            raise Overloaded(f"{self._requests_max} requests of publishers are being served")
        self._running[publisher] += 1
        try:
            yield
        finally:
            self._running[publisher] -= 1
            if not self._running[publisher]:
                del self._running[publisher]
