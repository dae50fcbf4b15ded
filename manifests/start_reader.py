"""Read the answer to a start call as it arrives: ``docs/format/start.md``. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from kit.buffers import Buffer
from kit.errors import FormatError
from manifests.addresses import BundleAddress, HeadAddress, ManifestAddress, TrustBundleAddress
from manifests.names import Channel, TitleId
from manifests.start import (
    HEADER,
    LEASE_SIZE_MAX,
    MAGIC,
    MANIFEST_PART_COUNT_MAX,
    PART,
    PATH_SIZE_MAX,
    RANGE_PART_COUNT_MAX,
    RANGE_PART_SIZE_MAX,
    REFUSAL_SIZE_MAX,
    VERSION,
    Absent,
    Content,
    Kind,
    LeasePart,
    Part,
    Refusal,
    Span,
    Stage,
    address_of,
    place_of,
)

_SIZES_MAX = {
    Kind.END: 0,
    Kind.CONTENT: RANGE_PART_SIZE_MAX,
    Kind.ABSENT: 0,
    Kind.LEASE: LEASE_SIZE_MAX,
    Kind.REFUSAL: REFUSAL_SIZE_MAX,
}
_NAMED = {Kind.CONTENT, Kind.ABSENT}


class AnswerReader:
    """Yields the parts of one answer, each once it is whole.

    It holds no more than the part under way, whose size is checked before it is taken in. What
    FormatError says is the edge's fault; nothing more is to be fed then.
    """

    def __init__(self, title: TitleId, channel: Channel) -> None:
        """Take an answer that must be about ``channel`` of ``title``."""
        self._title = title
        self._channel = channel
        self._stage = Stage.BEFORE
        self._buffer = bytearray()
        self._seen: set[tuple[str, Span]] = set()
        self._manifest_count = 0
        self._ranges: list[tuple[str, tuple[int, int]]] = []
        self._has_permission = False

    @property
    def has_begun(self) -> bool:
        """Whether it begins as an answer does."""
        return self._stage > Stage.BEFORE

    @property
    def is_complete(self) -> bool:
        """Whether it came to its end."""
        return self._stage is Stage.END

    def may_bring(self, path: str, span: Span) -> bool:
        """Tell whether what is at ``path`` may still come; it is not for sure that it will."""
        stage, _ = place_of(path)
        is_due = self._stage <= stage and (path, span) not in self._seen
        return is_due and self._is_asked(path, span)

    def feed(self, piece: Buffer) -> Iterator[Part]:
        """Yield the parts that ``piece`` completes.

        Raises:
            FormatError: The answer breaks a rule of the format, or is about something else.
        """
        self._buffer += piece
        if self._stage is Stage.BEFORE:
            self._begin()
        while self.has_begun and not self.is_complete:
            found = self._next()
            if found is None:
                return
            yield from found
        if self.is_complete and self._buffer:
            raise FormatError("start: the answer goes on behind its end")

    def _begin(self) -> None:
        if not MAGIC.startswith(self._buffer[: len(MAGIC)]):
            raise FormatError("start: the answer does not begin as one")
        if len(self._buffer) < HEADER.size:
            return
        _, version = HEADER.unpack_from(self._buffer)
        if version != VERSION:
            raise FormatError(
                f"start: the answer has format {version}; this program reads {VERSION}:"
                " update the program"
            )
        del self._buffer[: HEADER.size]
        self._stage = Stage.TRUST

    def _next(self) -> tuple[Part, ...] | None:
        """Return the part that the buffer begins with, none for the end; None until it is here."""
        if len(self._buffer) < PART.size:
            return None
        number, zero, path_size, start, end, size = PART.unpack_from(self._buffer)
        if zero or number not in _NUMBERS or path_size > PATH_SIZE_MAX:
            raise FormatError("start: the answer has a part that none has")
        kind = Kind(number)
        span = (start, end) if start or end else None
        if size > _SIZES_MAX[kind] or (kind in _NAMED) != bool(path_size):
            raise FormatError("start: the answer has a part of a size that none has")
        body_at = PART.size + path_size
        if len(self._buffer) < body_at:
            return None
        path = bytes(self._buffer[PART.size : body_at]).decode("ascii", "replace")
        stage = self._stage_of(kind, path, span, size)
        if len(self._buffer) < body_at + size:
            return None
        body = bytes(memoryview(self._buffer)[body_at : body_at + size])
        del self._buffer[: body_at + size]
        self._stage = stage
        return self._taken(kind, path, span, body)

    def _stage_of(self, kind: Kind, path: str, span: Span, size: int) -> Stage:
        """Return where the answer is with a part, whose body need not be here yet."""
        if kind not in _NAMED:
            if span is not None or (kind is not Kind.END and self._stage is not Stage.TRUST):
                raise FormatError("start: the answer says who may read behind what is read")
            return Stage.END if kind is Kind.END else Stage.TRUST
        if not self.may_bring(path, span):
            raise FormatError(f"start: {path[:200]!r} was not asked for, or is not next")
        stage, size_max = place_of(path)
        if size > size_max:
            raise FormatError(f"start: {size} bytes of {path}; at most {size_max}")
        if kind is Kind.CONTENT and span is not None and size != span[1] - span[0]:
            raise FormatError(f"start: {size} bytes for the span {span} of {path}")
        return stage

    def _is_asked(self, path: str, span: Span) -> bool:
        match address_of(path):
            case HeadAddress(title, channel) | TrustBundleAddress(title, channel):
                return (title, channel, span) == (self._title, self._channel, None)
            case ManifestAddress(title, _):
                is_one_more = self._manifest_count < MANIFEST_PART_COUNT_MAX
                return title == self._title and span is None and is_one_more
            case BundleAddress(title, _):
                return title == self._title and span is not None and self._is_due(path, span)
            case _:
                return False

    def _is_due(self, path: str, span: tuple[int, int]) -> bool:
        """Tell whether a range may come now: the first, or what goes on where that ends."""
        if not span[0] < span[1] or len(self._ranges) == RANGE_PART_COUNT_MAX:
            return False
        if not self._ranges:
            return True
        before, (start, end) = self._ranges[-1]
        is_small = span[1] - start <= RANGE_PART_SIZE_MAX
        return (before, end) == (path, span[0]) and is_small

    def _taken(self, kind: Kind, path: str, span: Span, body: bytes) -> tuple[Part, ...]:
        if kind is Kind.END:
            return ()
        if kind not in _NAMED:
            return (self._permission(kind, body),)
        self._seen.add((path, span))
        self._manifest_count += self._stage is Stage.MANIFEST
        if self._stage is Stage.RANGE and span is not None:
            self._ranges.append((path, span))
        return (Absent(path, span) if kind is Kind.ABSENT else Content(path, span, body),)

    def _permission(self, kind: Kind, body: bytes) -> LeasePart | Refusal:
        if self._has_permission:
            raise FormatError("start: the answer says twice who may read")
        self._has_permission = True
        try:
            if kind is Kind.LEASE:
                return msgspec.json.decode(body, type=LeasePart)
            return msgspec.json.decode(body, type=Refusal)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FormatError(f"start: {error}") from error


_NUMBERS = frozenset(Kind)
