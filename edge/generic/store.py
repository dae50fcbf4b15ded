"""Stored responses in memory: by URL, several of one where ``Vary`` says, within a budget."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge.generic.content import Content, Spans, Whole, combined
from edge.store.eviction import Counted, S3Fifo
from kit.http_semantics.conditions import is_last_modified_strong
from kit.http_semantics.fields import Fields
from kit.http_semantics.stored import StoredResponse
from kit.http_semantics.tags import is_strong
from kit.http_semantics.vary import matches

ENTRY_OVERHEAD = 2048
"""Bytes that Python objects around a response take: a guess on the safe side."""
FIELD_OVERHEAD = 160
"""Of each field, with its place in the index."""


@dataclass(slots=True, eq=False)
class Entry:
    """One stored response."""

    key: str
    stored: StoredResponse
    content: Content

    @property
    def cost(self) -> int:
        """Bytes it takes in memory."""
        pairs = self.stored.head.fields.pairs
        texts = sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in pairs)
        return ENTRY_OVERHEAD + len(self.key) + texts + self.content.size


class ResponseStore:
    """Holds at most ``size_max`` bytes, and ``variants_max`` responses of one key."""

    def __init__(self, size_max: int, variants_max: int) -> None:
        self._entries: dict[str, list[Entry]] = {}
        self._order: S3Fifo[Counted[Entry]] = S3Fifo(size_max)
        self._variants_max = variants_max

    def __len__(self) -> int:
        return len(self._order)

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._order.size

    def all(self, key: str) -> list[Entry]:
        """Return every response stored for ``key``, the oldest first."""
        return self._entries.get(key, [])

    def find(self, key: str, request: Fields) -> Entry | None:
        """Return the newest response that matches ``request``: RFC 9111, sections 4 and 4.1."""
        found: Entry | None = None
        for entry in self._entries.get(key, ()):
            if matches(entry.stored.varied, request) and (
                found is None or entry.stored.date >= found.stored.date
            ):
                found = entry
        counted = self._order.get(found) if found is not None else None
        if counted is not None:
            counted.use()
        return found

    def put(
        self, key: str, stored: StoredResponse, content: Content, *, unless_whole: bool = False
    ) -> None:
        """Store a response; it takes the place of the one for the same requests, if any.

        With ``unless_whole`` one that is here whole keeps its place.
        """
        earlier = next((e for e in self.all(key) if e.stored.varied == stored.varied), None)
        if unless_whole and earlier is not None and isinstance(earlier.content, Whole):
            return
        if earlier is not None and isinstance(content, Spans):
            stored, content = _joined(earlier, stored, content)
        entry = Entry(key, _sized(stored, content), content)
        if earlier is not None:
            self.drop(earlier)
        counted = Counted(entry, entry.cost)
        if not self._order.can_hold(counted.size):
            return
        for victim in self._order.admit(counted):
            self._forget(victim.key)
        entries = self._entries.setdefault(key, [])
        entries.append(entry)
        if len(entries) > self._variants_max:
            self.drop(entries[0])

    def freshen(self, entry: Entry, stored: StoredResponse) -> None:
        """Give ``entry`` the head it has by now; it keeps its place."""
        entry.stored = replace(stored, varied=entry.stored.varied)

    def drop(self, entry: Entry) -> None:
        """Forget a response; nothing happens if it is not here any more."""
        if entry in self._order:
            self._order.remove(entry)
            self._forget(entry)

    def drop_all(self, key: str) -> int:
        """Forget every response of ``key``; return how many there were."""
        entries = list(self.all(key))
        for entry in entries:
            self.drop(entry)
        return len(entries)

    def _forget(self, entry: Entry) -> None:
        entries = self._entries[entry.key]
        entries.remove(entry)
        if not entries:
            del self._entries[entry.key]


def is_same_representation(one: StoredResponse, other: StoredResponse) -> bool:
    """Tell whether spans of both may be put together: RFC 9111, section 3.4."""
    if one.etag is not None or other.etag is not None:
        return one.etag == other.etag and is_strong(one.etag or "")
    return (
        one.last_modified is not None
        and one.last_modified == other.last_modified
        and is_last_modified_strong(one.head.fields, one.received_at)
        and is_last_modified_strong(other.head.fields, other.received_at)
    )


def _joined(earlier: Entry, stored: StoredResponse, came: Spans) -> tuple[StoredResponse, Content]:
    """Return what there is with ``came``: nothing of the earlier, if that was another."""
    if not is_same_representation(earlier.stored, stored):
        return stored, came
    match earlier.content:
        case Whole() as whole:
            return _updated(earlier.stored, stored), whole
        case Spans() as spans:
            return _updated(earlier.stored, stored), combined(spans, came)


def _updated(earlier: StoredResponse, later: StoredResponse) -> StoredResponse:
    """Return the later response's head with what only the earlier one had: section 3.4."""
    names = {name.lower() for name, _ in later.head.fields}
    kept = earlier.head.fields.without(names | {"age"})
    head = replace(later.head, fields=Fields((*kept, *later.head.fields)))
    return replace(later, head=head)


def _sized(stored: StoredResponse, content: Content) -> StoredResponse:
    """Return the head of a whole response: a 206 whose spans became all is a 200."""
    if stored.head.status != 206:
        return stored
    fields = stored.head.fields.without({"content-range", "content-length"})
    if isinstance(content, Whole):
        return replace(stored, head=replace(stored.head, status=200, reason="OK", fields=fields))
    return replace(stored, head=stored.head.with_fields(fields))
