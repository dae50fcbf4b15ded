"""Write the golden delta set: one delta of each method, and a head that names their index.

    python -m tests.conformance.make_golden_deltas tests/conformance/golden_deltas

What is committed there stays as it is: a later version must read it.
"""

from __future__ import annotations

import lzma
import struct
import sys
from pathlib import Path

import bsdiff4.core

from chunks.chunk_id import ChunkId, chunk_id_of, digest_of
from chunks.delta import Effort, Method, make_delta
from chunks.delta_bundle import DeltaBundleWriter
from manifests import locations
from manifests.delta_index import StoredDelta, encode_delta_index
from manifests.documents import DeltaRef, DeltaSet, Head, ObjectRef, Release, encode
from manifests.model import BundleRef
from manifests.names import Channel, Version
from tests.conformance.inputs import text_like
from tests.conformance.make_golden import TITLE, write
from tests.deltas import framed, hdiff_of

BASES = [text_like(seed, 9000 + 1000 * seed) for seed in (11, 12, 13)]
FRESH = [text_like(21, 4000), text_like(22, 5000)]


def edited(text: bytes, word: bytes) -> bytes:
    """A text with a word in its middle and one letter changed here and there."""
    changed = bytearray(text[: len(text) // 2] + word + text[len(text) // 2 :])
    changed[::997] = b"#" * len(changed[::997])
    return bytes(changed)


TARGETS = [edited(base, b"new words") for base in BASES] + FRESH


def bsdiff_of_pair(base: bytes, target: bytes) -> bytes:
    parts = bsdiff4.core.diff(base, target)
    return struct.pack("<III", *map(len, parts)) + b"".join(parts)


def payloads() -> list[tuple[Method, list[bytes], list[bytes], bytes]]:
    """Method, targets, bases and payload of each."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 8 << 20, "lc": 3, "lp": 0, "pb": 0}]
    both = BASES[0] + BASES[1]
    quick = make_delta(TARGETS[0], both, Effort.QUICK)
    packed = lzma.compress(b"".join(FRESH), lzma.FORMAT_RAW, filters=filters)
    return [
        (quick.method, TARGETS[:1], BASES[:2], quick.payload),
        (Method.HDIFF, TARGETS[1:2], BASES[:2], framed(hdiff_of(both, TARGETS[1]))),
        (Method.BSDIFF, TARGETS[2:3], BASES[2:], framed(bsdiff_of_pair(BASES[2], TARGETS[2]))),
        (Method.LZMA, FRESH, [], packed),
    ]


def ids(chunks: list[bytes]) -> tuple[ChunkId, ...]:
    return tuple(chunk_id_of(digest_of(chunk)) for chunk in chunks)


def golden_deltas() -> dict[str, bytes]:
    """Return every object by its storage key."""
    writer = DeltaBundleWriter()
    made = [(*each, writer.add(each[3])) for each in payloads()]
    bundle = writer.close()
    ref = BundleRef(bundle.bundle_id, len(bundle.data))
    stored = [
        StoredDelta(ids(of), ids(by), method, at.digest[:16], ref, at.offset, at.size)
        for method, of, by, _, at in made
    ]
    chunks = [*BASES, *TARGETS]
    index = encode_delta_index(stored, dict(zip(ids(chunks), map(len, chunks), strict=True)))
    at = ObjectRef(digest=digest_of(index).hex(), size=len(index))
    release = Release(
        title=TITLE,
        counter=2,
        version=Version("1.1"),
        created_at="2026-05-02T10:00:00Z",
        root=ObjectRef(digest="0" * 64, size=1),
    )
    head = Head(
        title=TITLE,
        channel=Channel("live"),
        release=release,
        deltas=(DeltaRef(base=1, target=2, index=at),),
    )
    known = DeltaSet(
        title=TITLE,
        base=1,
        target=2,
        index=at,
        count=len(stored),
        size=sum(delta.size for delta in stored),
        target_size=sum(map(len, TARGETS)),
        plain_size=sum(map(len, TARGETS)),
    )
    return {
        locations.bundle_key(TITLE, ref.bundle_id): bytes(bundle.data),
        locations.slice_list_key(TITLE, ref.bundle_id): bundle.slices.encode(),
        locations.manifest_key(TITLE, at.raw_digest): index,
        locations.head_key(TITLE, head.channel): encode(head),
        locations.delta_set_key(TITLE, 1, 2): encode(known),
    }


if __name__ == "__main__":
    write(Path(sys.argv[1]), golden_deltas())
