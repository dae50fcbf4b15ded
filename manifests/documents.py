"""Head, release and root: the documents that say which build a channel plays (``docs/format``)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from chunks.chunk_id import Digest, check_digest
from kit.buffers import Buffer
from kit.errors import FormatError
from manifests.names import GROUP_PATTERN, TITLE_PATTERN, VERSION_PATTERN, Channel, TitleId, Version

FORMAT = 1
DOCUMENT_SIZE_MAX = 16 << 10
ROOT_SIZE_MAX = 1 << 20
PAGE_STORED_SIZE_MAX = 32 << 20
GROUP_COUNT_MAX = 256
PAGE_COUNT_MAX = 4096
ENTRY_COUNT_MAX = 1_000_000
CHUNK_COUNT_MAX = 4_000_000
STREAM_SIZE_MAX = CHUNK_COUNT_MAX << 20
DELTA_SETS_MAX = 16

_Title = Annotated[TitleId, Meta(pattern=TITLE_PATTERN)]
_Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Counter = Annotated[int, Meta(ge=1, le=9_999_999_999)]
_Size = Annotated[int, Meta(ge=0, le=1 << 53)]


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Immutable, keyword-only, closed to unknown keys."""


class ObjectRef(_Document, frozen=True, kw_only=True):
    """An immutable object by digest and stored size in bytes."""

    digest: _Hex
    size: Annotated[int, Meta(ge=1, le=PAGE_STORED_SIZE_MAX)]

    @property
    def raw_digest(self) -> Digest:
        """The digest as 32 bytes."""
        return Digest(bytes.fromhex(self.digest))


class PageRef(ObjectRef, frozen=True, kw_only=True):
    """A page of a group, and how many entries and chunk occurrences it holds."""

    entry_count: Annotated[int, Meta(ge=0, le=ENTRY_COUNT_MAX)]
    chunk_count: Annotated[int, Meta(ge=0, le=CHUNK_COUNT_MAX)]


class Group(_Document, frozen=True, kw_only=True):
    """An install group: its entries, chunk occurrences, bytes of its stream, and its pages."""

    name: Annotated[str, Meta(pattern=GROUP_PATTERN)]
    entry_count: Annotated[int, Meta(ge=1, le=ENTRY_COUNT_MAX)]
    chunk_count: Annotated[int, Meta(ge=0, le=CHUNK_COUNT_MAX)]
    size: Annotated[int, Meta(ge=0, le=STREAM_SIZE_MAX)]
    pages: Annotated[tuple[PageRef, ...], Meta(min_length=1, max_length=PAGE_COUNT_MAX)]


class Root(_Document, frozen=True, kw_only=True):
    """What a build is. Its digest is the build id."""

    format: Literal[1] = 1
    title: _Title
    groups: Annotated[tuple[Group, ...], Meta(min_length=1, max_length=GROUP_COUNT_MAX)]

    @property
    def installed_size(self) -> int:
        """Bytes of all files."""
        return sum(group.size for group in self.groups)


class Release(_Document, frozen=True, kw_only=True):
    """A build vouched for, under a counter that only rises within a title."""

    format: Literal[1] = 1
    title: _Title
    counter: _Counter
    version: Annotated[Version, Meta(pattern=VERSION_PATTERN)]
    created_at: Annotated[str, Meta(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}Z\Z")]
    root: ObjectRef

    def __post_init__(self) -> None:
        """Refuse what a pattern cannot tell; while decoding, a ValueError is a validation error."""
        datetime.fromisoformat(self.created_at)
        if self.root.size > ROOT_SIZE_MAX:
            raise ValueError(f"a root of {self.root.size} bytes; at most {ROOT_SIZE_MAX}")


class DeltaRef(_Document, frozen=True, kw_only=True, omit_defaults=True):
    """A delta set: the index that leads from one release to another, by their counters."""

    base: _Counter
    target: _Counter
    index: ObjectRef
    manifest: ObjectRef | None = None
    """The manifest delta, for consoles that are at ``base`` itself."""


class DeltaSet(_Document, frozen=True, kw_only=True):
    """What a publisher knows of a delta set; sizes in bytes."""

    format: Literal[1] = 1
    title: _Title
    base: _Counter
    target: _Counter
    index: ObjectRef
    count: _Size
    """Deltas."""
    size: _Size
    """Of all of them."""
    target_size: _Size
    """Plain bytes of the chunks they make."""
    plain_size: _Size
    """What those chunks take as they are stored: what the deltas save players from."""
    manifest: ObjectRef | None = None
    """The manifest delta; None if it would spare nothing."""


class Head(_Document, frozen=True, kw_only=True):
    """What a channel points to now, and the delta sets that lead there, nearest first."""

    format: Literal[1] = 1
    title: _Title
    channel: Annotated[Channel, Meta(pattern=TITLE_PATTERN)]
    release: Release
    deltas: Annotated[tuple[DeltaRef, ...], Meta(max_length=DELTA_SETS_MAX)] = ()


_D = TypeVar("_D", bound=_Document)


class _Versioned(msgspec.Struct):
    format: int


class _VersionedHead(msgspec.Struct):
    release: _Versioned


def encode(document: Root | Release | Head | DeltaSet) -> bytes:
    """Return the document as it is stored: keys in order, no white space."""
    return msgspec.json.encode(document)


def parse_head(data: Buffer, title: TitleId, channel: Channel) -> Head:
    """Read the head of ``channel``.

    Raises:
        FormatError: It is damaged, of an unknown format, or another title's or channel's.
    """
    what = f"head of {title}/{channel}"
    head = _parse(what, data, Head, DOCUMENT_SIZE_MAX)
    _check_names(what, (title, head.title), (title, head.release.title), (channel, head.channel))
    return head


def parse_release(data: Buffer, title: TitleId, counter: int) -> Release:
    """Read release ``counter`` of ``title``.

    Raises:
        FormatError: It is damaged, of an unknown format, or another release.
    """
    what = f"release {counter} of {title}"
    release = _parse(what, data, Release, DOCUMENT_SIZE_MAX)
    _check_names(what, (title, release.title), (str(counter), str(release.counter)))
    return release


def parse_delta_set(data: Buffer, title: TitleId, base: int, target: int) -> DeltaSet:
    """Read what is said of the delta set from release ``base`` to release ``target``.

    Raises:
        FormatError: It is damaged, of an unknown format, or of other releases.
    """
    what = f"delta set of {title} from release {base} to {target}"
    found = _parse(what, data, DeltaSet, DOCUMENT_SIZE_MAX)
    releases = (f"{base} to {target}", f"{found.base} to {found.target}")
    _check_names(what, (title, found.title), releases)
    return found


def parse_root(data: Buffer, digest: Digest, title: TitleId) -> Root:
    """Read the root of the build ``digest``.

    Raises:
        IntegrityError: The bytes have another digest.
        FormatError: They are no root, of an unknown format, another title's, or do not add up.
    """
    what = f"root {digest.hex()} of {title}"
    check_digest(what, data, digest)
    root = _parse(what, data, Root, ROOT_SIZE_MAX)
    _check_names(what, (title, root.title))
    for group in root.groups:
        sums = (sum(p.entry_count for p in group.pages), sum(p.chunk_count for p in group.pages))
        if sums != (group.entry_count, group.chunk_count):
            raise FormatError(f"{what}: pages of group {group.name} do not add up to the group")
    _check_count(what, "entries", [group.entry_count for group in root.groups], ENTRY_COUNT_MAX)
    _check_count(what, "chunks", [group.chunk_count for group in root.groups], CHUNK_COUNT_MAX)
    _check_count(what, "pages", [len(group.pages) for group in root.groups], PAGE_COUNT_MAX)
    if len({group.name for group in root.groups}) != len(root.groups):
        raise FormatError(f"{what}: two groups have the same name")
    return root


def _parse(what: str, data: Buffer, kind: type[_D], size_max: int) -> _D:
    if len(data) > size_max:
        raise FormatError(f"{what} has {len(data)} bytes; at most {size_max}")
    try:
        _check_format(what, msgspec.json.decode(data, type=_Versioned))
        if kind is Head:
            _check_format(what, msgspec.json.decode(data, type=_VersionedHead).release)
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{what} is damaged: {error}") from error


def _check_format(what: str, found: _Versioned) -> None:
    if found.format != FORMAT:
        raise FormatError(
            f"{what} has format {found.format}; this program reads {FORMAT}: update the program"
        )


def _check_names(what: str, *pairs: tuple[str, str]) -> None:
    for expected, found in pairs:
        if expected != found:
            raise FormatError(f"{what} says it is of {found!r}")


def _check_count(what: str, of: str, counts: Sequence[int], limit: int) -> None:
    if sum(counts) > limit:
        raise FormatError(f"{what} has {sum(counts)} {of}; at most {limit}")
