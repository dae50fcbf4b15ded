"""What a cache needs to know of status codes: RFC 9110, section 15.1; RFC 9111, section 3."""

from __future__ import annotations

HEURISTICALLY_CACHEABLE = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Cacheable without being told so: RFC 9110, section 15.1."""

UNDERSTOOD = HEURISTICALLY_CACHEABLE | {
    *(201, 202, 205),
    *(302, 303, 305, 307),
    *(400, 401, 402, 403, 406, 407, 408, 409, 411, 412, 413, 415, 416, 417, 421, 422, 426),
    *(500, 502, 503, 504, 505),
}
"""Final ones whose rules for caching are followed here, which ``must-understand`` asks for.

304 is not among them: it is never stored, but updates what is.
"""

SERVER_FAILED = frozenset({500, 502, 503, 504})
"""As good as no answer to a validation: RFC 9111, section 4.3.3; RFC 5861, section 4."""


def is_error(status: int) -> bool:
    """Tell whether a request failed, so that it changed nothing: RFC 9111, section 4.4."""
    return not 200 <= status < 400
