"""Write the golden answer to a start call, of the golden title and the golden trust bundle.

    python -m tests.conformance.make_golden_start tests/conformance/golden_start.answer

What is committed there stays as it is: a later version must read it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from chunks.chunk_id import Digest
from manifests import locations
from manifests.documents import parse_head, parse_root
from manifests.names import Channel, TitleId
from manifests.opening import first_request, in_turns
from manifests.page import parse_page
from manifests.start import (
    Absent,
    Content,
    LeasePart,
    Part,
    answer_header,
    encode_end,
    encode_part,
)

TITLE, LIVE = TitleId("golden"), Channel("live")
HERE = Path(__file__).parent
LEASE = LeasePart("a-lease-of-the-golden-player", 900.0)


def golden_parts() -> list[Part]:
    """Return what a fresh install is sent; of a head that is installed, that it is absent."""

    def stored(key: str) -> bytes:
        return (HERE / "golden" / key).read_bytes()

    def whole(key: str) -> Content:
        return Content(f"/{key}", None, stored(key))

    def manifest(digest: Digest) -> str:
        return locations.manifest_key(TITLE, digest)

    head = parse_head(stored(locations.head_key(TITLE, LIVE)), TITLE, LIVE)
    root_digest = head.release.root.raw_digest
    root = parse_root(stored(manifest(root_digest)), root_digest, TITLE)
    ref = root.groups[0].pages[0]
    page = parse_page(stored(manifest(ref.raw_digest)), ref)
    request = first_request(page)
    assert request is not None
    bundle_id = page.chunks.bundles[request.bundle_index].bundle_id
    bundle = locations.bundle_key(TITLE, bundle_id)
    ranges = [
        Content(f"/{bundle}", (turn.start, turn.end), stored(bundle)[turn.start : turn.end])
        for turn in in_turns(request)
    ]
    trust = f"/{locations.trust_bundle_key(TITLE, LIVE)}"
    return [
        Absent(f"/{locations.head_key(TITLE, LIVE)}", None),
        Content(trust, None, (HERE / "golden_trust.bundle").read_bytes()),
        LEASE,
        whole(manifest(root_digest)),
        whole(manifest(ref.raw_digest)),
        *ranges,
    ]


def main() -> None:
    """Write it."""
    parts = b"".join(map(encode_part, golden_parts()))
    Path(sys.argv[1]).write_bytes(answer_header() + parts + encode_end())


if __name__ == "__main__":
    main()
