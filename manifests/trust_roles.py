"""Who may vouch for what: the roles of trust, and the names that they put under signature.

::

    root ─┬─ timestamp, snapshot
          └─ targets ─┬─ release ── release-bin-000 … : what a channel points to, by the platform
                      └─ shard-00 … ── publisher-NAME : what a publisher made, by the publisher

Two roles vouch for every release and neither can do so alone. A *build path* is signed by the
title's publisher, a *head path* by the platform; both name the bytes of the same release document.
Which publisher a title belongs to is said by a shard, whose keys are offline.

Source: ``docs/format/trust.md``; The Update Framework 1.0, section 4.
"""

from __future__ import annotations

import re
from typing import NewType

from chunks.chunk_id import digest_of
from kit.errors import InvalidInput
from manifests.names import TITLE_PATTERN, Channel, TitleId

PublisherId = NewType("PublisherId", str)

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = "root", "targets", "snapshot", "timestamp"
RELEASE = "release"
BIN_PREFIX = "release-bin"

BOUND_ROLE = "x-playhead-role"
"""Field of every delegated role's signed part that holds the role's own name. Roles of equal keys
and version could otherwise be served in each other's place."""

SHARD_COUNT = 128
"""500 publishers make four a shard, 1.5 kB of a trust bundle; with 64 shards bundles are 0.8 kB
larger, with 256 as large (``docs/adr/0012-trust-is-sharded.md``)."""


def publisher_id(text: str) -> PublisherId:
    """Read the name of a publisher; the same rule as for titles.

    Raises:
        InvalidInput: It breaks that rule.
    """
    if re.match(TITLE_PATTERN, text) is None:
        raise InvalidInput(f"publisher {text[:80]!r}: expected 1 to 64 of a-z, 0-9 and inner '-'")
    return PublisherId(text)


def publisher_role(publisher: PublisherId) -> str:
    """Return the role in which a publisher vouches for its builds."""
    return f"publisher-{publisher}"


def shard_role(publisher: PublisherId) -> str:
    """Return the role that says which titles are the publisher's, and by which keys it signs."""
    return f"shard-{_shard(publisher)}"


def shard_roles() -> list[str]:
    """Return the names of all shards."""
    return [f"shard-{index:02x}" for index in range(SHARD_COUNT)]


def shard_paths(shard: str) -> str:
    """Return the pattern of all build paths below a shard."""
    return f"build/{shard.removeprefix('shard-')}/*/*/*"


def title_paths(publisher: PublisherId, title: TitleId) -> str:
    """Return the pattern of all build paths of a title: what a shard delegates to its publisher."""
    return f"build/{_shard(publisher)}/{publisher}/{title}/*"


def build_path(publisher: PublisherId, title: TitleId, counter: int) -> str:
    """Return the path under which a publisher vouches for a release."""
    return f"build/{_shard(publisher)}/{publisher}/{title}/{counter:010}"


METADATA_SIZE_MAX = 5_000_000
"""Of what a role signed; the library's own bound for delegated roles: 23,000 builds of one
publisher."""

HEAD_PATHS = "head/*/*"
"""The pattern of all head paths: what ``targets`` delegates to ``release``."""


def head_path(title: TitleId, channel: Channel) -> str:
    """Return the path under which the platform vouches for what a channel points to."""
    return f"head/{title}/{channel}"


def _shard(publisher: PublisherId) -> str:
    return f"{digest_of(publisher.encode())[0] % SHARD_COUNT:02x}"
