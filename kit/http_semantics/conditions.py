"""Conditional requests: those we answer, and those we ask. RFC 9110, section 13; RFC 9111, 4.3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from kit.http_semantics.dates import parse_date
from kit.http_semantics.fields import Fields, split_list
from kit.http_semantics.messages import ResponseHead
from kit.http_semantics.stored import StoredResponse
from kit.http_semantics.tags import (
    can_be_asked_about,
    is_known_to_client,
    is_strong,
    is_tag,
    opaque,
)

TAGS_MAX = 16
"""Stored variants an upstream is asked about at once: more would make a request of many KiB."""
STRONG_AFTER_S = 60
"""A ``Last-Modified`` so long before ``Date`` is a strong validator: RFC 9110, section 8.8.2.2."""

CONDITIONS = ("if-none-match", "if-modified-since")
FOR_ORIGIN_ONLY = ("if-match", "if-unmodified-since")
"""A cache evaluates neither: RFC 9111, section 4.3.2."""


class Precondition(Enum):
    """What a request's conditions make of the response that is there."""

    SEND = "send"
    NOT_MODIFIED = "not modified"


def precondition(request: Fields, stored: StoredResponse, now: float) -> Precondition:
    """Evaluate the client's conditions against ``stored``: RFC 9111, section 4.3.2.

    ``If-None-Match`` alone counts where there is one: RFC 9110, section 13.2.2.
    """
    if stored.head.status not in {200, 206}:
        return Precondition.SEND
    if "if-none-match" in request:
        is_known = _is_any_known(request.all("if-none-match"), stored.etag)
        return Precondition.NOT_MODIFIED if is_known else Precondition.SEND
    since = request.only("if-modified-since")
    moment = parse_date(since, now) if since is not None else None
    if moment is None:
        return Precondition.SEND  # absent or invalid: section 13.1.3
    changed_at = _changed_at(stored, now)
    return Precondition.NOT_MODIFIED if changed_at <= moment else Precondition.SEND


def if_range_holds(if_range: str | None, stored: StoredResponse, now: float) -> bool:
    """Tell whether ``Range`` counts: RFC 9110, section 13.1.5. Both validators must be strong."""
    if if_range is None:
        return True
    if is_tag(if_range):
        return is_strong(if_range) and if_range == stored.etag
    return is_last_modified_strong(stored.head.fields, now) and if_range == stored.last_modified


def strong_validator(fields: Fields, now: float) -> str | None:
    """Return what a range may be asked for by, so that it is of the same bytes: section 13.1.5."""
    etag = fields.only("etag")
    if etag is not None:
        return etag if is_strong(etag) else None
    return fields.only("last-modified") if is_last_modified_strong(fields, now) else None


def is_last_modified_strong(fields: Fields, now: float) -> bool:
    """Tell whether nobody can have changed it twice in the second that it names."""
    changed, date = fields.only("last-modified"), fields.only("date")
    if changed is None or date is None:
        return False
    changed_at, sent_at = parse_date(changed, now), parse_date(date, now)
    return changed_at is not None and sent_at is not None and sent_at - changed_at >= STRONG_AFTER_S


def validation(request: Fields, asked_about: Sequence[StoredResponse]) -> Fields | None:
    """Return ``request`` as it is sent to validate what is stored, None if that cannot be.

    The client's own conditions are left out: they are evaluated against what is found. Of several
    variants only the tags can be asked about: RFC 9111, section 4.3.1.
    """
    had = [one.etag for one in asked_about if one.etag is not None]
    tags = list(dict.fromkeys(filter(can_be_asked_about, had)))
    asked = request.without(CONDITIONS)
    if tags:
        asked = asked.plus(("If-None-Match", ", ".join(tags[:TAGS_MAX])))
    if len(asked_about) == 1 and (changed := asked_about[0].last_modified) is not None:
        asked = asked.plus(("If-Modified-Since", changed))
    elif not tags:
        return None
    return asked


def confirmed(
    not_modified: ResponseHead, asked_about: Sequence[StoredResponse]
) -> list[StoredResponse]:
    """Return those of ``asked_about`` that a 304 says are still right: RFC 9111, section 4.3.4.

    Empty if it names another, or leaves open which: then ask again without conditions. One without
    a validator confirms the only one that was asked about.
    """
    etag = not_modified.fields.only("etag")
    if etag is not None:
        if is_strong(etag):
            same = [one for one in asked_about if one.etag == etag]
            if same:
                return same
        weakly = [one for one in asked_about if one.etag and opaque(one.etag) == opaque(etag)]
        if weakly:
            return [newest(weakly)]
        # A tag where we had none to ask with: its Last-Modified must do.
        return [one for one in asked_about if one.etag is None and len(asked_about) == 1]
    if len(asked_about) == 1:
        changed = not_modified.fields.only("last-modified")
        only = asked_about[0]
        is_same = changed is None or only.last_modified in {None, changed} or only.etag is not None
        return [only] if is_same else []
    return []


def newest(stored: Iterable[StoredResponse]) -> StoredResponse:
    """Return the one with the latest ``Date``: RFC 9111, section 4. Of equal ones, the last."""
    found: StoredResponse | None = None
    for one in stored:
        if found is None or (one.date, one.received_at) >= (found.date, found.received_at):
            found = one
    assert found is not None
    return found


def not_modified_fields(fields: Fields) -> Fields:
    """Return what of a response's ``fields`` its 304 has: RFC 9110, section 15.4.5.

    Metadata of a representation that is not sent is left out, but for what caches go by.
    """
    left_out = {
        *("content-length", "content-type", "content-encoding", "content-language"),
        *("content-range", "accept-ranges"),
    }
    if "etag" in fields:
        left_out.add("last-modified")
    return fields.without(left_out)


def _is_any_known(values: Iterable[str], etag: str | None) -> bool:
    """Compare weakly; ``*`` is true since there is a response: RFC 9110, section 13.1.2."""
    text = ", ".join(values)
    if text.strip() == "*":
        return True
    if etag is None:
        return False
    # What is no tag, for its quotes are missing, is compared as it is.
    return is_known_to_client(text, etag) if is_tag(etag) else etag in split_list(text)


def _changed_at(stored: StoredResponse, now: float) -> float:
    """Return when it last changed, or if that is not said, was made: RFC 9111, section 4.3.2."""
    changed = stored.last_modified
    moment = parse_date(changed, now) if changed is not None else None
    return stored.date if moment is None else moment
