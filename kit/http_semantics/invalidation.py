"""What a request that changes something makes us forget: RFC 9111, section 4.4."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from kit.http_semantics.messages import RequestHead, ResponseHead, is_safe
from kit.http_semantics.statuses import is_error

URL_SIZE_MAX = 8192


def invalidated(request: RequestHead, head: ResponseHead, origin: str) -> list[str]:
    """Return the targets, in origin form, whose stored responses ``head`` makes invalid.

    Args:
        request: Its method may be one whose safety is unknown.
        head: Only one that is no error makes anything invalid.
        origin: Scheme and authority of the request, such as ``http://example.org``. Of other
            origins nothing is forgotten, or any server could empty our cache of another's.
    """
    if is_safe(request.method) or is_error(head.status):
        return []
    targets = [request.target]
    for name in ("location", "content-location"):
        value = head.fields.only(name)
        target = None if value is None else _same_origin(value, request.target, origin)
        if target is not None and target not in targets:
            targets.append(target)
    return targets


def _same_origin(reference: str, base: str, origin: str) -> str | None:
    if len(reference) > URL_SIZE_MAX:
        return None
    try:
        ours = urlsplit(urljoin(origin, base))
        url = urlsplit(urljoin(ours.geturl(), reference))
        if (url.scheme, authority(url.scheme, url.netloc)) != (
            ours.scheme,
            authority(ours.scheme, ours.netloc),
        ):
            return None
    except ValueError:
        return None
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def authority(scheme: str, host: str) -> str:
    """Return ``host`` in the one spelling that caches use: in lower case, without default port."""
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    name = host.rpartition("@")[2].lower()
    return name.removesuffix(default) if default and not name.endswith("]") else name
