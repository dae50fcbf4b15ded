"""Storage keys and URL paths are those of ``docs/format/urls.md``."""

from __future__ import annotations

from chunks.chunk_id import Digest
from manifests import locations
from manifests.names import Channel, TitleId

TITLE = TitleId("celeste")
DIGEST = Digest(bytes(range(32)))
HEX = DIGEST.hex()


def test_keys() -> None:
    assert locations.head_key(TITLE, Channel("live")) == "t/celeste/h/live"
    assert locations.release_key(TITLE, 7) == "t/celeste/r/0000000007"
    assert locations.manifest_key(TITLE, DIGEST) == f"t/celeste/m/{HEX}"
    assert locations.bundle_key(TITLE, DIGEST) == f"t/celeste/b/{HEX}"
    assert locations.slice_list_key(TITLE, DIGEST) == f"t/celeste/s/{HEX}"
    assert locations.lock_prefix(TITLE) == "t/celeste/w/"


def test_paths_of_what_storage_keeps_elsewhere() -> None:
    assert locations.slice_list_path(TITLE, DIGEST) == f"/t/celeste/b/{HEX}/slices"
    assert locations.slice_path(TITLE, DIGEST, 31) == f"/t/celeste/b/{HEX}/31"
