"""What a URL path asks for: the table of ``docs/format/urls.md``, read from left to right.

Each address knows its path, its storage key, and what caches are told about it. There is one
spelling per object, so a path is also a cache key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from chunks.chunk_id import Digest
from chunks.slices import BUNDLE_SIZE_MAX, SLICE_SIZE
from kit.errors import NotFound
from manifests import locations
from manifests.names import Channel, TitleId

HEAD_FRESH_S = 30
HEAD_REVALIDATE_S = 30
STALE_IF_ERROR_S = 24 * 3600
IMMUTABLE_FRESH_S = 7 * 24 * 3600

HEAD_CACHE = (
    f"public, max-age={HEAD_FRESH_S}, stale-while-revalidate={HEAD_REVALIDATE_S}, "
    f"stale-if-error={STALE_IF_ERROR_S}"
)
IMMUTABLE_CACHE = f"public, max-age={IMMUTABLE_FRESH_S}, immutable"

JSON = "application/json"
BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class _Immutable:
    cache_control: ClassVar[str] = IMMUTABLE_CACHE
    content_type: ClassVar[str] = BYTES

    title: TitleId


@dataclass(frozen=True, slots=True)
class HeadAddress:
    """The head of a channel: an address whose object changes."""

    cache_control: ClassVar[str] = HEAD_CACHE
    content_type: ClassVar[str] = JSON

    title: TitleId
    channel: Channel

    @property
    def key(self) -> str:
        """Where storage keeps it."""
        return locations.head_key(self.title, self.channel)

    @property
    def path(self) -> str:
        """Its URL path."""
        return "/" + self.key


@dataclass(frozen=True, slots=True)
class ReleaseAddress(_Immutable):
    """A release, by counter."""

    content_type: ClassVar[str] = JSON

    counter: int

    @property
    def key(self) -> str:
        """Where storage keeps it."""
        return locations.release_key(self.title, self.counter)

    @property
    def path(self) -> str:
        """Its URL path."""
        return "/" + self.key


@dataclass(frozen=True, slots=True)
class ManifestAddress(_Immutable):
    """A root or a page, by digest."""

    digest: Digest

    @property
    def key(self) -> str:
        """Where storage keeps it."""
        return locations.manifest_key(self.title, self.digest)

    @property
    def path(self) -> str:
        """Its URL path."""
        return "/" + self.key


@dataclass(frozen=True, slots=True)
class BundleAddress(_Immutable):
    """A bundle, by id."""

    bundle_id: Digest

    @property
    def key(self) -> str:
        """Where storage keeps it."""
        return locations.bundle_key(self.title, self.bundle_id)

    @property
    def path(self) -> str:
        """Its URL path."""
        return "/" + self.key

    @property
    def slice_list(self) -> SliceListAddress:
        """Where the digests of its slices are."""
        return SliceListAddress(self.title, self.bundle_id)

    def slice(self, index: int) -> SliceAddress:
        """Return where slice ``index`` is."""
        return SliceAddress(self.title, self.bundle_id, index)


@dataclass(frozen=True, slots=True)
class SliceListAddress(_Immutable):
    """The slice list of a bundle."""

    bundle_id: Digest

    @property
    def bundle(self) -> BundleAddress:
        """The bundle whose slices it lists."""
        return BundleAddress(self.title, self.bundle_id)

    @property
    def key(self) -> str:
        """Where storage keeps it."""
        return locations.slice_list_key(self.title, self.bundle_id)

    @property
    def path(self) -> str:
        """Its URL path."""
        return locations.slice_list_path(self.title, self.bundle_id)


@dataclass(frozen=True, slots=True)
class SliceAddress(_Immutable):
    """One slice of a bundle; storage knows it only as part of the bundle."""

    bundle_id: Digest
    index: int

    @property
    def bundle(self) -> BundleAddress:
        """The bundle it is part of."""
        return BundleAddress(self.title, self.bundle_id)

    @property
    def path(self) -> str:
        """Its URL path."""
        return locations.slice_path(self.title, self.bundle_id, self.index)


@dataclass(frozen=True, slots=True)
class TrustBundleAddress:
    """The trust bundle of a channel; the origin makes it, storage does not have it."""

    cache_control: ClassVar[str] = HEAD_CACHE
    content_type: ClassVar[str] = BYTES

    title: TitleId
    channel: Channel

    @property
    def path(self) -> str:
        """Its URL path."""
        return "/" + locations.trust_bundle_key(self.title, self.channel)


@dataclass(frozen=True, slots=True)
class TimestampAddress:
    """The timestamp of the repository of trust: of its documents the only one that changes."""

    cache_control: ClassVar[str] = HEAD_CACHE
    content_type: ClassVar[str] = JSON

    @property
    def key(self) -> str:
        """Where storage keeps it."""
        return locations.trust_key("timestamp")

    @property
    def path(self) -> str:
        """Its URL path."""
        return "/" + self.key


@dataclass(frozen=True, slots=True)
class TrustAddress:
    """A version of what a role of trust signed."""

    cache_control: ClassVar[str] = IMMUTABLE_CACHE
    content_type: ClassVar[str] = JSON

    role: str
    version: int

    @property
    def key(self) -> str:
        """Where storage keeps it."""
        return locations.trust_key(self.role, self.version)

    @property
    def path(self) -> str:
        """Its URL path."""
        return "/" + self.key


TitleAddress: TypeAlias = (
    HeadAddress
    | TrustBundleAddress
    | ReleaseAddress
    | ManifestAddress
    | BundleAddress
    | SliceListAddress
    | SliceAddress
)
"""What belongs to a title."""

Address: TypeAlias = TitleAddress | TimestampAddress | TrustAddress

OpenAddress: TypeAlias = (
    HeadAddress | ReleaseAddress | TrustBundleAddress | TimestampAddress | TrustAddress
)
"""What a store shows anyone, and caches need. All else is content, for whoever has a lease."""

_NAME = r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"
_DIGEST = r"[0-9a-f]{64}"
_PATH = re.compile(
    rf"/t/(?P<title>{_NAME})/(?:"
    rf"h/(?P<channel>{_NAME})(?P<trust>/trust)?"
    rf"|r/(?P<counter>[0-9]{{10}})"
    rf"|m/(?P<manifest>{_DIGEST})"
    rf"|b/(?P<bundle>{_DIGEST})(?:/(?P<part>slices|0|[1-9][0-9]?))?"
    r")"
)
_TRUST_PATH = re.compile(
    r"/trust/(?:(?P<timestamp>timestamp)"
    r"|(?P<version>[1-9][0-9]{0,8})\.(?P<role>root|targets|snapshot|release"
    rf"|release-bin-[0-9a-f]{{1,8}}|shard-[0-9a-f]{{2}}|publisher-{_NAME}))\.json"
)
_SLICE_COUNT_MAX = BUNDLE_SIZE_MAX // SLICE_SIZE


def parse_path(path: str) -> Address:
    """Read the path of a URL.

    Raises:
        NotFound: It names nothing that could exist: another spelling is another path.
    """
    trust = _TRUST_PATH.fullmatch(path)
    if trust is not None:
        if trust["timestamp"]:
            return TimestampAddress()
        return TrustAddress(trust["role"], int(trust["version"]))
    return _parse_title_path(path)


def _parse_title_path(path: str) -> TitleAddress:
    match = _PATH.fullmatch(path)
    if match is None:
        raise NotFound(f"{path[:200]}: nothing can have this path")
    title = TitleId(match["title"])
    if match["channel"]:
        kind = TrustBundleAddress if match["trust"] else HeadAddress
        return kind(title, Channel(match["channel"]))
    if match["counter"]:
        return ReleaseAddress(title, int(match["counter"]))
    if match["manifest"]:
        return ManifestAddress(title, Digest(bytes.fromhex(match["manifest"])))
    bundle = BundleAddress(title, Digest(bytes.fromhex(match["bundle"])))
    if match["part"] is None:
        return bundle
    if match["part"] == "slices":
        return bundle.slice_list
    if int(match["part"]) >= _SLICE_COUNT_MAX:
        raise NotFound(f"{path}: a bundle has at most {_SLICE_COUNT_MAX} slices")
    return bundle.slice(int(match["part"]))
