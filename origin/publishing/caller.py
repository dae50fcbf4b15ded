"""Who asks: the publisher that a request's token names, and what it was granted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import web

from kit.http_body import bearer_of
from manifests.publishing_scope import Scope

CheckToken: TypeAlias = Callable[[str], tuple[Scope, str]]
"""Returns what a token grants, and by which grant; raises Unauthenticated."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A publisher's machine, as far as its token says."""

    scope: Scope
    grant_id: str
    address: str


def caller_of(request: web.Request, check_token: CheckToken) -> Caller:
    """Return who asks; nothing else of the request was looked at yet.

    Raises:
        Unauthenticated: Nobody that we know, or no longer.
    """
    scope, grant_id = check_token(bearer_of(request))
    return Caller(scope, grant_id, request.remote or "")
