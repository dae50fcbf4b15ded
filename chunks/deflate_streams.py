"""Find deflate streams in bytes whose format nobody told us: zip members, gzip, zlib in pak files.

Whatever looks like a header is tried, and nearly every wrong guess fails within its first bytes:
zlib stops at the first impossible block. Trying is paid for from a credit that grows with every
byte passed, so bytes made of nothing but headers, or bombs, cost no more than a few times their
size; what they cost is streams not found, never an error.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from chunks.archives import UNFOLDED_SIZE_MAX
from kit.buffers import Buffer

FOLDED_SIZE_MIN = 128
"""A shorter stream is left folded: its row in a recipe and the checksums around it would cost
about what its delta saves."""

INFLATED_SIZE_MAX = 256 << 20
"""Bytes that one search inflates at most into streams it keeps: about a second of work."""

_BOMB_RATIO = 64
_BOMB_SIZE = 1 << 20
"""Past this size, what inflates more than 64 times is dropped: a bomb, or filler that is so small
when folded that there is nothing to gain."""

_CREDIT_START = 1 << 20
_CREDIT_PER_BYTE = 4
_ATTEMPT_COST = 512
"""Credit and costs are in bytes inflated or consumed; an attempt that fails at once costs about
as much time as inflating 512 bytes. Noise has a header every 2 KiB and so never runs out."""

_FIRST_FEED_SIZE = 512
_FEED_SIZE_MAX = 256 << 10
_OUTPUT_SIZE_MAX = 1 << 20
_FEED_GROWTH = 4

_ZIP_HEADER_SIZE = 30
_ZIP_ENCRYPTED = 1
_DEFLATED = 8
_FIXED, _DYNAMIC = 1, 2
_WINDOW_USUAL = 7
_GZIP_HEADER_SIZE = 10
_GZIP_HEADER_CHECKSUM, _GZIP_EXTRA, _GZIP_NAME, _GZIP_COMMENT = 2, 4, 8, 16
_GZIP_TEXT_SIZE_MAX = 4096


@dataclass(frozen=True, slots=True)
class DeflateStream:
    """A raw deflate stream at ``[start, end)``: without the header and checksum around it.

    Attributes:
        header_start: Where the header begins that gave it away.
        start, end: Its span in the bytes searched.
        unfolded_size: Bytes it inflates to; more than it has itself.
        window_bits: What its header says of the window it was deflated with; 15 if nothing.
    """

    header_start: int
    start: int
    end: int
    unfolded_size: int
    window_bits: int

    @property
    def folded_size(self) -> int:
        """Bytes it takes deflated."""
        return self.end - self.start


def find_streams(data: Buffer, start: int = 0, end: int | None = None) -> list[DeflateStream]:
    """Return the streams, in order and apart, that have a byte in ``[start, end)``.

    Only streams that lie whole in ``data`` are found, so give bytes around the span: a stream that
    reaches into it from the left must have its header in them, one that leaves it to the right
    its end. Streams inside streams are not looked for. Mostly releases the GIL.
    """
    view = memoryview(data)
    span_end = len(view) if end is None else end
    found: list[DeflateStream] = []
    at, paid_up_to, credit, inflated_size = 0, 0, _CREDIT_START, 0
    while inflated_size < INFLATED_SIZE_MAX:
        header = _HEADER.search(view, at, span_end)
        if header is None:
            break
        at = header.start() + 1
        credit += _CREDIT_PER_BYTE * (at - paid_up_to)
        paid_up_to = at
        if credit < 0:
            continue
        body = _body_of(view, header.start())
        if body is None or body.start >= span_end:
            credit -= _ATTEMPT_COST
            continue
        measured = _measure(view, body.start)
        stream_end = body.start + measured.folded_size
        if not measured.is_worthwhile:
            credit -= _ATTEMPT_COST + measured.folded_size + measured.unfolded_size
            continue
        at = paid_up_to = stream_end
        if stream_end > start:
            inflated_size += measured.unfolded_size
            found.append(
                DeflateStream(
                    header.start(),
                    body.start,
                    stream_end,
                    measured.unfolded_size,
                    body.window_bits,
                )
            )
    return found


class _Body(NamedTuple):
    """Where the deflate stream behind a header starts."""

    start: int
    window_bits: int


class _Measured(NamedTuple):
    """How far a stream could be followed."""

    folded_size: int
    unfolded_size: int
    is_whole: bool

    @property
    def is_worthwhile(self) -> bool:
        return (
            self.is_whole
            and self.folded_size >= FOLDED_SIZE_MIN
            and self.unfolded_size > self.folded_size
        )


def _zlib_headers() -> Iterator[bytes]:
    """Yield patterns for the two bytes that RFC 1950 allows without a preset dictionary.

    What follows must look like a first block: machine code is full of the two bytes alone. Windows
    below the usual are what libpng writes; images so small that they get less than 8 KiB are not
    worth it, and one of those headers is the commonest instruction there is (``48 89``).
    """
    dynamic = [lengths << 3 | _DYNAMIC << 1 | final for lengths in range(30) for final in (0, 1)]
    fixed = [rest << 3 | _FIXED << 1 | final for rest in range(32) for final in (0, 1)]
    stored = [0, 1]
    for window in (5, 6, _WINDOW_USUAL):
        first_blocks = [*dynamic, *fixed, *stored] if window == _WINDOW_USUAL else dynamic
        header = window << 4 | _DEFLATED
        flags = [low for low in range(256) if (header << 8 | low) % 31 == 0 and not low & 0x20]
        yield re.escape(bytes([header])) + _one_of(flags) + b"(?=" + _one_of(first_blocks) + b")"


def _one_of(values: Iterable[int]) -> bytes:
    return b"[" + b"".join(re.escape(bytes([value])) for value in values) + b"]"


_HEADER = re.compile(b"|".join([rb"PK\x03\x04", rb"\x1f\x8b\x08", *_zlib_headers()]))


def _body_of(data: memoryview, at: int) -> _Body | None:
    match data[at]:
        case 0x50:
            start = _zip_body(data, at)
        case 0x1F:
            start = _gzip_body(data, at)
        case method_and_window:
            return _Body(at + 2, (method_and_window >> 4) + 8)
    return None if start is None else _Body(start, zlib.MAX_WBITS)


def _zip_body(data: memoryview, at: int) -> int | None:
    """Return where the member behind a local header starts, if it is deflated and can be read.

    Its sizes are not asked for: they may stand behind it, and the stream knows where it ends.
    """
    if at + _ZIP_HEADER_SIZE > len(data):
        return None
    flags = int.from_bytes(data[at + 6 : at + 8], "little")
    method = int.from_bytes(data[at + 8 : at + 10], "little")
    if method != _DEFLATED or flags & _ZIP_ENCRYPTED:
        return None
    name_size = int.from_bytes(data[at + 26 : at + 28], "little")
    extra_size = int.from_bytes(data[at + 28 : at + 30], "little")
    return at + _ZIP_HEADER_SIZE + name_size + extra_size


def _gzip_body(data: memoryview, at: int) -> int | None:
    """Return where the stream behind a gzip header starts (RFC 1952)."""
    if at + _GZIP_HEADER_SIZE > len(data):
        return None
    flags = data[at + 3]
    body = at + _GZIP_HEADER_SIZE
    if flags & _GZIP_EXTRA:
        body += 2 + int.from_bytes(data[body : body + 2], "little")
    for text in (_GZIP_NAME, _GZIP_COMMENT):
        if flags & text:
            text_size = bytes(data[body : body + _GZIP_TEXT_SIZE_MAX]).find(0)
            if text_size < 0:
                return None
            body += text_size + 1
    return body + 2 if flags & _GZIP_HEADER_CHECKSUM else body


def _measure(data: memoryview, start: int) -> _Measured:
    """Follow the stream at ``start`` to its end, or as far as it is one that a recipe can take.

    It is fed in pieces that grow from small: what a piece holds behind the stream's end is copied.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    at, feed_size, unfolded_size = start, _FIRST_FEED_SIZE, 0
    pending: Buffer = b""
    try:
        while not inflater.eof:
            if not pending:
                pending = data[at : at + feed_size]
                at += len(pending)
                feed_size = min(_FEED_GROWTH * feed_size, _FEED_SIZE_MAX)
            inflated = inflater.decompress(pending, _OUTPUT_SIZE_MAX)
            unfolded_size += len(inflated)
            is_cut_off = not pending and not inflated
            is_bomb = unfolded_size > max(_BOMB_SIZE, _BOMB_RATIO * (at - start))
            if is_cut_off or is_bomb or unfolded_size > UNFOLDED_SIZE_MAX:
                return _Measured(at - start, unfolded_size, is_whole=False)
            pending = inflater.unconsumed_tail
    except zlib.error:
        return _Measured(at - start, unfolded_size, is_whole=False)
    return _Measured(at - len(inflater.unused_data) - start, unfolded_size, is_whole=True)
