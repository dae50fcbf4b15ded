"""What is answered to a request there is no time for: written beforehand, so that it costs little.

Source: RFC 9110, sections 10.2.3 and 15.6.4.
"""

from __future__ import annotations

import msgspec

from kit.lane import Answer

STATUS = 503


class Refusals:
    """Answers that say when to ask again, each made once."""

    def __init__(self, server: str, code: str) -> None:
        """Have them sent by ``server``, as errors of ``code``."""
        self._server = server
        self._code = code
        self._known: dict[tuple[int, bool], tuple[bytes, bytes]] = {}

    def answer(self, retry_after_s: int, *, is_head: bool, is_last: bool) -> Answer:
        """Return the answer; ``is_last`` if the connection ends by it."""
        key = retry_after_s, is_last
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._made(retry_after_s, is_last=is_last)
        head, body = found
        # One write: a head and a body apart would be two calls of the kernel.
        return Answer(STATUS, head if is_head else head + body)

    def _made(self, retry_after_s: int, *, is_last: bool) -> tuple[bytes, bytes]:
        body = msgspec.json.encode(
            {
                "type": f"urn:playhead:error:{self._code}",
                "code": self._code,
                "status": STATUS,
                "detail": f"more is asked for than can be served; ask again in {retry_after_s} s",
                "trace_id": None,
            }
        )
        lines = [
            f"HTTP/1.1 {STATUS} Service Unavailable",
            f"Retry-After: {retry_after_s}",
            "Cache-Control: no-store",
            "Content-Type: application/problem+json",
            f"Content-Length: {len(body)}",
            f"Server: {self._server}",
            *(["Connection: close"] if is_last else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode(), body
