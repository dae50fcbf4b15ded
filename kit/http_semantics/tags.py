"""Entity tags: RFC 9110, section 8.8.3."""

from __future__ import annotations

import re

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_BARE = re.compile(r"[\x21\x23-\x29\x2b\x2d-\x7e]+")
_KNOWN = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def is_tag(text: str) -> bool:
    """Tell whether ``text`` is an entity tag."""
    return _TAG.fullmatch(text) is not None


def is_strong(tag: str) -> bool:
    """Tell whether ``tag`` changes with every byte."""
    return tag.startswith('"') and is_tag(tag)


def can_be_asked_about(etag: str) -> bool:
    """Tell whether a server may be sent what it sent us as ``ETag``.

    It may lack its quotes, which a server that forgets them will not miss; but if it held a comma,
    a star, a blank or a quote, it would be read as something else.
    """
    return is_tag(etag) or _BARE.fullmatch(etag) is not None


def opaque(tag: str) -> str:
    """Return ``tag`` without its weakness: two are equal weakly if these are: section 8.8.3.2."""
    return tag.removeprefix("W/")


def is_known_to_client(if_none_match: str | None, etag: str) -> bool:
    """Tell whether the client already has the object with ``etag``: 304.

    Compares weakly, as section 13.1.2 demands: ``W/"a"`` matches ``"a"``.
    """
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or opaque(etag) in _KNOWN.findall(if_none_match)
