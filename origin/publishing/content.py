"""Are bytes what their key says? Checked before anybody can see them. Pure.

* A manifest's key is its digest.
* A bundle's key is the digest of its slice list; and it ends in an index that adds up.
* A slice list's key is its own digest; and it is a slice list.
"""

from __future__ import annotations

from chunks.bundle import MAGIC, TAIL_SIZE, index_size, parse_index, parse_tail
from chunks.chunk_id import Digest, check_digest
from chunks.delta_bundle import parse_delta_bundle
from chunks.slices import BUNDLE_SIZE_MAX, SLICE_LIST_SIZE_MAX, SliceList, parse_slice_list
from kit.buffers import Buffer
from kit.errors import FormatError, IntegrityError
from manifests.documents import DOCUMENT_SIZE_MAX, PAGE_STORED_SIZE_MAX
from manifests.title_keys import Kind, TitleKey

CLAIM_SIZE_MAX = 4096

SIZE_MAX: dict[Kind, int] = {
    "head": DOCUMENT_SIZE_MAX,
    "release": DOCUMENT_SIZE_MAX,
    "manifest": PAGE_STORED_SIZE_MAX,
    "bundle": BUNDLE_SIZE_MAX,
    "slices": SLICE_LIST_SIZE_MAX,
    "deltas": DOCUMENT_SIZE_MAX,
    "claim": CLAIM_SIZE_MAX,
}
"""In bytes, by what is stored; known before a byte is taken in."""


def check_content(key: TitleKey, data: Buffer) -> None:
    """Do nothing if ``data`` is what ``key`` names; for kinds whose key is a digest.

    Raises:
        IntegrityError: It has another digest.
        FormatError: It has that digest and is still not such a thing.
    """
    match key.kind:
        case "manifest":
            check_digest(key.key, data, key.digest)
        case "bundle":
            _check_bundle(key.key, memoryview(data), key.digest)
        case "slices":
            parse_slice_list(data, key.digest)
        case _:
            raise AssertionError(f"the key of a {key.kind} is no digest")


def _check_bundle(what: str, data: memoryview, bundle_id: Digest) -> None:
    if not TAIL_SIZE < len(data) <= BUNDLE_SIZE_MAX:
        raise FormatError(f"{what}: {len(data)} bytes; at most {BUNDLE_SIZE_MAX}")
    found = SliceList.of(data).bundle_id
    if found != bundle_id:
        raise IntegrityError(f"{what}: these bytes are bundle {found.hex()}")
    tail = data[-TAIL_SIZE:]
    if tail[-len(MAGIC) :] == MAGIC:
        count = parse_tail(bundle_id.hex(), tail, len(data))
        parse_index(bundle_id.hex(), data[-index_size(count) :], len(data))
    else:
        parse_delta_bundle(bundle_id.hex(), data)
