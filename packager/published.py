"""What a title has published so far, as far as the next push needs it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chunks.chunk_id import Digest, parse_digest
from kit.errors import NotFound
from manifests import locations
from manifests.documents import Head, ObjectRef, Release
from manifests.model import Build
from manifests.names import Channel, Version
from packager.title_store import TitleStore

RECENT_RELEASES = 3
"""Read besides those that channels point to. What changed back to an older state than these is
uploaded again; it is rare, and reading every manifest of a long history is not cheap."""


@dataclass(frozen=True)
class Published:
    """Heads, releases oldest first, and the builds of the most relevant ones."""

    heads: tuple[Head, ...]
    releases: tuple[Release, ...]
    builds: dict[ObjectRef, Build]
    """By root; the same version's first, then the channel's, then the rest."""

    def head(self, channel: Channel) -> Head | None:
        """Return what ``channel`` points to, if it exists."""
        return next((head for head in self.heads if head.channel == channel), None)

    def latest(self, version: Version) -> Release | None:
        """Return the newest release of ``version``, if there is one."""
        return next((r for r in reversed(self.releases) if r.version == version), None)

    @property
    def highest_counter(self) -> int:
        """The counter that the next release must exceed."""
        counters = [r.counter for r in self.releases] + [h.release.counter for h in self.heads]
        return max(counters, default=0)


async def read_published(store: TitleStore, channel: Channel, version: Version) -> Published:
    """Read what a push of ``version`` to ``channel`` builds on.

    A build whose manifest is being swept away is passed over.
    """
    heads, releases = tuple(await store.heads()), tuple(await store.releases())
    published = Published(heads, releases, {})
    for ref in _relevant(published, channel, version):
        if ref not in published.builds:
            try:
                published.builds[ref] = await store.build(ref)
            except NotFound:
                continue
    return published


async def stored_bundles(store: TitleStore) -> dict[Digest, int]:
    """Return the size of every bundle that is stored completely, with its slice list, by id."""
    bundles = await _sizes(store, locations.bundles_prefix(store.title))
    complete = await _sizes(store, locations.slice_lists_prefix(store.title))
    return {bundle_id: size for bundle_id, size in bundles.items() if bundle_id in complete}


def _relevant(published: Published, channel: Channel, version: Version) -> Iterator[ObjectRef]:
    same_version, head = published.latest(version), published.head(channel)
    if same_version is not None:
        yield same_version.root
    if head is not None:
        yield head.release.root
    yield from (head.release.root for head in published.heads)
    yield from (release.root for release in published.releases[: -RECENT_RELEASES - 1 : -1])


async def _sizes(store: TitleStore, prefix: str) -> dict[Digest, int]:
    stats = store.storage.list(prefix)
    return {parse_digest(stat.key.removeprefix(prefix)): stat.size async for stat in stats}
