"""Updating stored responses from a 304 or a HEAD: RFC 9111, sections 3.2, 4.3.4 and 4.3.5."""

from __future__ import annotations

from kit.http_semantics.messages import RequestHead, ResponseHead
from kit.http_semantics.stored import StoredResponse, dated, stored_as

# What is stored depends on them: the length of a 304 is that of no content, and how a span lies in
# an object is for whoever cuts it (section 3.2).
_NOT_UPDATED = frozenset({"content-length", "content-range"})


def freshened(
    stored: StoredResponse,
    update: ResponseHead,
    request: RequestHead,
    *,
    asked_at: float,
    received_at: float,
) -> StoredResponse:
    """Return ``stored`` with the fields of ``update``, as old as that is.

    Every field that it has replaces all of that name. ``Age`` of the stored response goes in any
    case: it told how old that was before it was found to be right.
    """
    came = dated(update, received_at).fields.without(_NOT_UPDATED)
    names = {name.lower() for name, _ in came}
    fields = stored.head.fields.without(names | {"age"}).plus(*came)
    head = stored.head.with_fields(fields)
    return stored_as(request, head, asked_at=asked_at, received_at=received_at)


def head_agrees(stored: StoredResponse, head: ResponseHead) -> bool:
    """Tell whether the answer to a HEAD is about the same representation as ``stored``.

    Source: RFC 9111, section 4.3.5: each validator it has, and the length if it has one, is equal.
    """
    return all(
        head.fields.only(name) == stored.head.fields.only(name)
        for name in ("etag", "last-modified", "content-length")
        if name in head.fields and (name != "content-length" or name in stored.head.fields)
    )
