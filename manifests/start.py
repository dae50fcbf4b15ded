"""The start call: what a console asks for at first, answered by an edge at once (``start.md``).

An answer is a sequence of parts. Each names the request that it answers, by path and span, and is
verified exactly as the answer to that request: nothing is believed for having come so.

Source: ``docs/format/start.md``.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from chunks.chunker import CHUNK_SIZE_MAX
from chunks.plan import FIRST_REQUEST_SIZE
from kit.buffers import Buffer
from kit.errors import FormatError, NotFound
from manifests import locations
from manifests.addresses import (
    Address,
    BundleAddress,
    HeadAddress,
    ManifestAddress,
    TrustBundleAddress,
    parse_path,
)
from manifests.documents import DOCUMENT_SIZE_MAX
from manifests.names import TITLE_NAME, Channel, TitleId
from manifests.trust_bundle import BUNDLE_SIZE_MAX

WISH_SIZE_MAX = 256
MAGIC = b"PHSA"
VERSION = 1

MANIFEST_PART_SIZE_MAX = 64 << 10
"""Eight times what root and first page aim at; what is larger is asked for singly."""
MANIFEST_PART_COUNT_MAX = 2
"""Root and first page, or a manifest delta."""
RANGE_PART_SIZE_MAX = max(FIRST_REQUEST_SIZE, CHUNK_SIZE_MAX)
RANGE_PART_COUNT_MAX = 2
"""The first chunk, and what comes with it."""
LEASE_SIZE_MAX = 2048
REFUSAL_SIZE_MAX = 4096
PATH_SIZE_MAX = 160
"""Of a range in a bundle of a title of the longest name: 136."""

HEADER = struct.Struct("<4sI")
PART = struct.Struct("<BBHIII")
"""Kind, zero, bytes of the path, start and end of the span, bytes of the body."""

_PATH = re.compile(rf"/t/(?P<title>{TITLE_NAME})/h/(?P<channel>{TITLE_NAME})/start")

Span: TypeAlias = tuple[int, int] | None


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the console that starts has already."""

    format: Literal[1] = 1
    installed: Annotated[int, Meta(ge=1, le=9_999_999_999)] | None = None
    """The counter of the release that is installed; None if nothing is."""


@dataclass(frozen=True, slots=True)
class Content:
    """What the request for ``path``, or for ``span`` of it, would bring; *not verified*."""

    path: str
    span: Span
    body: bytes


@dataclass(frozen=True, slots=True)
class Absent:
    """The edge has it not at hand: ask singly."""

    path: str
    span: Span


class LeasePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lease that the edge got for the player, as the entitlement service gave it."""

    lease: Annotated[str, Meta(min_length=1, max_length=1024)]
    expires_in_s: Annotated[float, Meta(gt=0, le=86_400)]


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The player gets no content, said as a problem document after parts were sent already."""

    status: Annotated[int, Meta(ge=400, le=599)]
    code: Annotated[str, Meta(max_length=64)]
    detail: Annotated[str, Meta(max_length=1024)]


Part: TypeAlias = Content | Absent | LeasePart | Refusal


class Stage(IntEnum):
    """How far an answer is; it never goes back."""

    BEFORE = 0
    TRUST = 1
    """Head, trust bundle, lease, refusal."""
    MANIFEST = 2
    RANGE = 3
    END = 4


class Kind(IntEnum):
    """What a part is, as its first byte."""

    END = 0
    CONTENT = 1
    ABSENT = 2
    LEASE = 3
    REFUSAL = 4


def start_path(title: TitleId, channel: Channel) -> str:
    """Return the URL path of the start call."""
    return f"/{locations.head_key(title, channel)}/start"


def parse_start_path(path: str) -> tuple[TitleId, Channel]:
    """Return the title and channel that the path of a start call names.

    Raises:
        NotFound: It is no such path.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise NotFound(f"{path[:200]}: nothing can have this path")
    return TitleId(match["title"]), Channel(match["channel"])


def encode_wish(wish: Wish) -> bytes:
    """Return the body of a start call."""
    return msgspec.json.encode(wish)


def parse_wish(body: Buffer) -> Wish:
    """Read the body of a start call.

    Raises:
        FormatError: It is another.
    """
    if len(body) > WISH_SIZE_MAX:
        raise FormatError(f"start: {len(body)} bytes; at most {WISH_SIZE_MAX}")
    try:
        return msgspec.json.decode(body, type=Wish)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"start: {error}") from error


def answer_header() -> bytes:
    """Return what every answer begins with."""
    return HEADER.pack(MAGIC, VERSION)


def content_header(path: str, span: Span, size: int) -> bytes:
    """Return what goes before the ``size`` bytes of a content part."""
    return _part_header(Kind.CONTENT, path, span, size)


def encode_part(part: Part) -> bytes:
    """Return a part as it is sent."""
    match part:
        case Content(path, span, body):
            return content_header(path, span, len(body)) + body
        case Absent(path, span):
            return _part_header(Kind.ABSENT, path, span, 0)
        case LeasePart():
            return _document_part(Kind.LEASE, part)
        case Refusal():
            return _document_part(Kind.REFUSAL, part)


def encode_end() -> bytes:
    """Return what every answer ends with, so that one cut short can be told."""
    return _part_header(Kind.END, "", None, 0)


def fits(path: str, size: int) -> bool:
    """Tell whether an answer may have ``size`` bytes of what is at ``path``."""
    _, size_max = place_of(path)
    return size <= size_max


def _part_header(kind: Kind, path: str, span: Span, size: int) -> bytes:
    name = path.encode("ascii")
    return PART.pack(kind, 0, len(name), *(span or (0, 0)), size) + name


def _document_part(kind: Kind, document: LeasePart | Refusal) -> bytes:
    body = msgspec.json.encode(document)
    return _part_header(kind, "", None, len(body)) + body


def address_of(path: str) -> Address | None:
    """Return what ``path`` names; None if nothing can have it."""
    try:
        return parse_path(path)
    except NotFound:
        return None


def place_of(path: str) -> tuple[Stage, int]:
    """Return the stage of what is at ``path``, and the most bytes it may have in an answer."""
    match address_of(path):
        case HeadAddress():
            return Stage.TRUST, DOCUMENT_SIZE_MAX
        case TrustBundleAddress():
            return Stage.TRUST, BUNDLE_SIZE_MAX
        case ManifestAddress():
            return Stage.MANIFEST, MANIFEST_PART_SIZE_MAX
        case BundleAddress():
            return Stage.RANGE, RANGE_PART_SIZE_MAX
        case _:
            return Stage.END, 0
