"""What responses make of what is stored: they update it, outdate it, or leave it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge.generic.flight import Flights
from edge.generic.store import Entry, ResponseStore
from edge.generic.streams import Source
from kit.http_semantics.freshening import freshened, head_agrees
from kit.http_semantics.messages import RequestHead
from kit.http_semantics.stored import StoredResponse, may_store
from kit.http_semantics.tags import is_strong
from kit.http_semantics.vary import matches


class Keeping:
    """Keeps a store as its upstream says. Asks nobody."""

    def __init__(self, store: ResponseStore, flights: Flights) -> None:
        self._store = store
        self._flights = flights

    def invalidate(self, key: str) -> None:
        """Forget what is stored, and what was asked for before now: RFC 9111, section 4.4."""
        self._store.drop_all(key)
        self._flights.void(key)

    def note_head(self, key: str, request: RequestHead, source: Source) -> None:
        """Have the answer to a HEAD update or outdate what is stored: section 4.3.5."""
        if source.head.status != 200:
            return
        for entry in list(self._store.all(key)):
            if not matches(entry.stored.varied, request.fields):
                continue
            if head_agrees(entry.stored, source.head):
                self._update(entry, source, replace(request, method="GET"))
            else:
                self._store.drop(entry)

    def note_not_modified(self, key: str, request: RequestHead, source: Source) -> None:
        """Update what a 304 to the client's own conditions is about: section 4.3.4."""
        etag = source.head.fields.only("etag") or ""
        for entry in list(self._store.all(key)):
            if is_strong(etag) and entry.stored.etag == etag:
                self._update(entry, source, request)

    def note_unstored(self, entry: Entry | None, request: RequestHead, source: Source) -> None:
        """Forget ``entry`` if a response that is not stored shows that it is no longer right.

        What somebody may not see, or what is said of a part, says nothing of what others get.
        """
        is_of_target = not {"authorization", "range"} & {n.lower() for n, _ in request.fields}
        if entry is not None and is_of_target and source.head.status not in _OF_THE_REQUEST:
            self._store.drop(entry)

    def confirm(
        self,
        key: str,
        entries: Sequence[Entry],
        request: RequestHead,
        source: Source,
        *,
        is_void: bool,
    ) -> Entry:
        """Update what a 304 says is right, and return what answers the request: section 4.3.4."""
        chosen = max(entries, key=lambda entry: entry.stored.date)
        for entry in entries:
            self._update(entry, source, request)
        stored = _freshened(chosen, source, request)
        is_another = stored.varied != chosen.stored.varied and not is_void
        if is_another and may_store(request, stored.head, stored):
            self._store.put(key, stored, chosen.content)
        return Entry(key, stored, chosen.content)

    def _update(self, entry: Entry, source: Source, request: RequestHead) -> None:
        stored = _freshened(entry, source, request)
        if may_store(request, stored.head, stored) or entry.stored.head.status == 206:
            self._store.freshen(entry, stored)
        else:
            self._store.drop(entry)


# About who asks, or how, or how much: 4xx of RFC 9110 and 6585; and a server that fails.
_OF_THE_REQUEST = frozenset(
    {400, 401, 402, 403, 405, 406, 407, 408, 411, 412, 413, 414, 415, 416, 417, 421, 425, 426}
    | {428, 429, 431, 451}
    | set(range(500, 600))
)


def _freshened(entry: Entry, source: Source, request: RequestHead) -> StoredResponse:
    return freshened(
        entry.stored,
        source.head,
        request,
        asked_at=source.asked_at,
        received_at=source.received_at,
    )
