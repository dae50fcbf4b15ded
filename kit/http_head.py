"""Reads the head of a plain GET or HEAD; whatever is unusual is left to who reads everything.

A head that two readers could take differently is how requests are smuggled. So this one does not
try: it says "not for me" to bodies, upgrades, repeated or folded headers, other versions, large
heads and anything llhttp finds wrong, and aiohttp is then given the same bytes.

A client sends the same lines again and again, but for the first and its ``Range``. Lines that
llhttp has read are remembered with what it made of them, byte for byte, so that only those two
are read anew, and only if they are of one plain shape each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import httptools

HEAD_SIZE_MAX = 4096
"""A console's has some 500 bytes, most of them the lease."""

END = b"\r\n\r\n"

REMEMBERED_MAX = 8192
"""Clients whose lines are remembered, some 1.5 KB each."""

_EOL = b"\r\n"
_RANGE_LINE = b"\r\nRange: "
_REQUEST_LINE = re.compile(rb"(?:GET|(HEAD)) (/[A-Za-z0-9/_.~%?=&,:@+-]*) HTTP/1\.1\r\n")
_SPAN = re.compile(rb"bytes=[0-9]{1,15}-[0-9]{0,15}")

_ELSEWHERE = frozenset(
    {
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"upgrade",
        b"expect",
        b"te",
        b"trailer",
        b"proxy-connection",
        b"keep-alive",
        b"if-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"cache-control",
        b"pragma",
    }
)
"""Headers that change what the answer is, or where it ends, in ways only the full lane knows."""

_ALIVE = b"keep-alive"


@dataclass(slots=True)
class Head:
    """A GET or HEAD without a body, on a connection that stays open."""

    target: bytes
    """As it was sent: percent-escapes, query and all."""
    is_head: bool = False
    headers: dict[bytes, bytes] = field(default_factory=dict)
    """By name in lower case; each was sent once. Other requests may have the same: never changed.
    """
    span: bytes | None = None
    """What ``Range`` says; it is not among the headers."""


WHOLE_SIZE_MAX = 8192
"""Of a request with its body that is looked at for its end: a start call has some 900 bytes."""


class _Ends:
    """Counts where requests begin and end (callbacks of a parser)."""

    def __init__(self) -> None:
        self.begun_count = 0
        self.ended_count = 0

    def on_message_begin(self) -> None:
        self.begun_count += 1

    def on_message_complete(self) -> None:
        self.ended_count += 1


def is_one_post(data: bytes) -> bool:
    """Tell whether ``data`` is one POST with all of its body, and nothing after it.

    aiohttp reads by the same parser, so once it has answered, nothing of ``data`` is left in it.
    """
    if len(data) > WHOLE_SIZE_MAX or not data.startswith(b"POST "):
        return False
    ends = _Ends()
    parser = httptools.HttpRequestParser(ends)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return False
    is_one = ends.begun_count == ends.ended_count == 1
    return is_one and parser.should_keep_alive() and parser.get_http_version() == "1.1"


class HeadReader:
    """One parser for all connections of an event loop: it is only ever given whole heads."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._head = Head(b"")
        self._is_plain = True
        self._is_complete = False
        self._remembered: dict[bytes, dict[bytes, bytes]] = {}
        """Headers by their lines, all but the first line and ``Range``."""

    def read(self, data: bytes) -> Head | None:
        """Return the head that ``data`` is, which ends with :data:`END`; None if it is unusual."""
        lines, span = data[data.find(_EOL) :], None
        at = lines.find(_RANGE_LINE)
        if at >= 0:
            end = lines.find(_EOL, at + len(_RANGE_LINE))
            span = lines[at + len(_RANGE_LINE) : end]
            lines = lines[:at] + lines[end:]
        headers = self._remembered.get(lines)
        if headers is None:
            return self._read_new(data, lines, span)
        first = _REQUEST_LINE.match(data)
        if (
            first is None
            or len(data) > HEAD_SIZE_MAX
            or (span is not None and _SPAN.fullmatch(span) is None)
        ):
            return self._parse(data)
        return Head(first[2], first[1] is not None, headers, span)

    def _read_new(self, data: bytes, lines: bytes, span: bytes | None) -> Head | None:
        head = self._parse(data)
        if (
            head is not None
            and head.span == span
            and _REQUEST_LINE.match(data)
            # A line that is continued on the next could not be left out.
            and b"\n " not in data
            and b"\n\t" not in data
        ):
            self._remembered[lines] = head.headers
            if len(self._remembered) > REMEMBERED_MAX:
                del self._remembered[next(iter(self._remembered))]
        return head

    def _parse(self, data: bytes) -> Head | None:
        if len(data) > HEAD_SIZE_MAX or not data.isascii():
            return None
        self._head, self._is_plain, self._is_complete = Head(b""), True, False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._is_plain = False
        if self._is_plain and self._is_complete and self._is_ours():
            return self._head
        self._parser = httptools.HttpRequestParser(self)  # the old may wait for a body
        return None

    def on_url(self, url: bytes) -> None:
        """Take the target, or a part of it (a callback of the parser)."""
        self._head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header (a callback of the parser)."""
        name = name.lower()
        headers = self._head.headers
        if name in headers or (name in _ELSEWHERE and value.lower() != _ALIVE):
            self._is_plain = False
        headers[name] = value

    def on_message_complete(self) -> None:
        """Note the end (a callback of the parser)."""
        if self._is_complete:
            self._is_plain = False  # there was a second one
        self._is_complete = True

    def _is_ours(self) -> bool:
        parser, head = self._parser, self._head
        method = parser.get_method()
        head.is_head = method == b"HEAD"
        head.span = head.headers.pop(b"range", None)
        return (
            (method == b"GET" or head.is_head)
            and parser.get_http_version() == "1.1"
            and b"host" in head.headers
        )


def may_become_head(data: bytes) -> bool:
    """Tell whether to wait for the rest of ``data``: it may be the beginning of a usual request.

    What is surely none is judged at once, by who knows what to answer.
    """
    if len(data) >= HEAD_SIZE_MAX or not data[:1].isupper():
        return False
    return data.count(b"\n") == data.count(b"\r\n")
