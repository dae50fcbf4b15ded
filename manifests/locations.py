"""Where each object of a title lives: storage key and URL path (``docs/format/urls.md``)."""

from __future__ import annotations

from chunks.chunk_id import Digest
from manifests.names import Channel, TitleId


def head_key(title: TitleId, channel: Channel) -> str:
    """Return the key, and after a slash the URL path, of a channel's head."""
    return f"{heads_prefix(title)}{channel}"


def release_key(title: TitleId, counter: int) -> str:
    """Return the key, and after a slash the URL path, of a release."""
    return f"{releases_prefix(title)}{counter:010}"


def manifest_key(title: TitleId, digest: Digest) -> str:
    """Return the key, and after a slash the URL path, of a root or page."""
    return f"{manifests_prefix(title)}{digest.hex()}"


def bundle_key(title: TitleId, bundle_id: Digest) -> str:
    """Return the key, and after a slash the URL path, of a bundle."""
    return f"{bundles_prefix(title)}{bundle_id.hex()}"


def slice_list_key(title: TitleId, bundle_id: Digest) -> str:
    """Return the key of a bundle's slice list."""
    return f"{slice_lists_prefix(title)}{bundle_id.hex()}"


def slice_list_path(title: TitleId, bundle_id: Digest) -> str:
    """Return the URL path of a bundle's slice list."""
    return f"/{bundle_key(title, bundle_id)}/slices"


def slice_path(title: TitleId, bundle_id: Digest, index: int) -> str:
    """Return the URL path of one slice."""
    return f"/{bundle_key(title, bundle_id)}/{index}"


def heads_prefix(title: TitleId) -> str:
    """Return what the keys of all heads begin with."""
    return f"t/{title}/h/"


def releases_prefix(title: TitleId) -> str:
    """Return what the keys of all releases begin with; ascending keys are ascending counters."""
    return f"t/{title}/r/"


def manifests_prefix(title: TitleId) -> str:
    """Return what the keys of all roots and pages begin with."""
    return f"t/{title}/m/"


def bundles_prefix(title: TitleId) -> str:
    """Return what the keys of all bundles begin with."""
    return f"t/{title}/b/"


def slice_lists_prefix(title: TitleId) -> str:
    """Return what the keys of all slice lists begin with."""
    return f"t/{title}/s/"


def delta_set_key(title: TitleId, base: int, target: int) -> str:
    """Return the key of what is known of a delta set; consoles learn it from heads."""
    return f"{delta_sets_prefix(title)}{target:010}-{base:010}"


def delta_sets_prefix(title: TitleId) -> str:
    """Return what the keys of all delta sets begin with."""
    return f"t/{title}/d/"


def lock_prefix(title: TitleId) -> str:
    """Return what the keys of the publisher's lock begin with."""
    return f"t/{title}/w/"


def trust_bundle_key(title: TitleId, channel: Channel) -> str:
    """Return what follows a slash in the URL path of a channel's trust bundle; it is not stored."""
    return f"{head_key(title, channel)}/trust"


TRUST_PREFIX = "trust/"
"""What the keys of all metadata of trust begin with; their names are those of a TUF mirror."""


def trust_key(role: str, version: int | None = None) -> str:
    """Return the key, and after a slash the URL path, of what ``role`` signed.

    Only the timestamp has no ``version``: it is the one that moves.
    """
    name = role if version is None else f"{version}.{role}"
    return f"{TRUST_PREFIX}{name}.json"


def trust_lock_prefix() -> str:
    """Return what the keys of the registry's lock begin with."""
    return f"{TRUST_PREFIX}w/"
