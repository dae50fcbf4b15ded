"""What is done about a request before anybody is asked: pure, but for the store it looks into."""

from __future__ import annotations

from dataclasses import dataclass

from edge.generic.answer import covers
from edge.generic.store import Entry, ResponseStore
from kit.http_semantics.cache_status import Forwarded
from kit.http_semantics.conditions import CONDITIONS, FOR_ORIGIN_ONLY, validation
from kit.http_semantics.directives import NONE, Directives, request_directives
from kit.http_semantics.invalidation import authority
from kit.http_semantics.messages import RequestHead
from kit.http_semantics.reuse import Reuse, reuse


@dataclass(frozen=True, slots=True)
class Lookup:
    """A GET or HEAD, and what is stored for it."""

    key: str
    request: RequestHead
    wants: Directives
    match: Entry | None
    """The newest that was chosen for such requests."""
    verdict: Reuse | None
    """What to do with it, where it has what is asked for; else None."""
    why: Forwarded
    """Why the upstream is asked, if it is."""
    is_collapsed: bool | None = None
    """False if it waited for another's response that turned out not to be for it."""

    @property
    def usable(self) -> Entry | None:
        """What is stored and has what is asked for, be it stale."""
        return self.match if self.verdict is not None else None

    @property
    def may_follow(self) -> bool:
        """Tell whether it may wait for another's response: what it asks for is what all get."""
        fields = self.request.fields
        return (
            self.request.method == "GET"
            and "range" not in fields
            and "authorization" not in fields
            and not self.wants.arguments
        )

    @property
    def may_lead(self) -> bool:
        """Tell whether others may wait for its response: conditions that are sent are ours."""
        if not self.may_follow:
            return False
        has_none = not any(name in self.request.fields for name in CONDITIONS)
        entry = self.usable
        return has_none or (
            entry is not None and validation(self.request.fields, [entry.stored]) is not None
        )


def key_of(scheme: str, host: str, target: str) -> str:
    """Return what responses are stored under: RFC 9111, section 2. The method is always GET."""
    return f"{scheme}://{authority(scheme, host)}{target}"


def is_for_cache(request: RequestHead, *, has_body: bool) -> bool:
    """Tell whether a stored response could satisfy ``request``: RFC 9111, sections 4 and 4.3.2."""
    return (
        request.method in {"GET", "HEAD"}
        and not has_body
        and not any(name in request.fields for name in FOR_ORIGIN_ONLY)
    )


def look_up(store: ResponseStore, key: str, request: RequestHead, now: float) -> Lookup:
    """Look for a stored response to ``request``."""
    wants = request_directives(request.fields)
    match = store.find(key, request.fields)
    if match is None:
        why: Forwarded = "vary-miss" if store.all(key) else "uri-miss"
        return Lookup(key, request, wants, None, None, why)
    if not covers(match, request, now):
        return Lookup(key, request, wants, match, None, "partial")
    verdict = reuse(match.stored, wants, now)
    # Where nobody had to ask for it to be validated, it is stale: RFC 9211, section 2.2.
    is_fresh = reuse(match.stored, NONE, now) is Reuse.FRESH
    why = "request" if verdict is Reuse.ASKED and is_fresh else "stale"
    return Lookup(key, request, wants, match, verdict, why)
