"""A publisher names a delta that opens to gigabytes, or makes other bytes than it says."""

from __future__ import annotations

import bz2
import lzma
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from chunks.chunk_id import CHUNK_ID_SIZE, chunk_id_of, digest_of
from chunks.delta import Method
from chunks.delta_bundle import DeltaBundleWriter
from manifests.delta_index import StoredDelta, encode_delta_index
from manifests.documents import DeltaRef, Head, Release
from manifests.model import BundleRef
from manifests.names import TitleId
from playhead.publishing import Desk
from tests.attacks.stage import LIVE, Stage, content_of
from tests.deltas import framed

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

MEMORY_MAX = 300 << 20
CHUNK_SIZE = 1 << 20
OLD = {"game.bin": random.Random(1).randbytes(CHUNK_SIZE)}
NEW = {"game.bin": random.Random(2).randbytes(CHUNK_SIZE)}


def bz2_bomb() -> bytes:
    """What the tool bsdiff writes, with 512 MiB behind it: all three of its parts are bz2."""
    control = bz2.compress(struct.pack("<QQQ", CHUNK_SIZE, 0, 0))
    zeros = bz2.compress(bytes(512 << 20))
    head = b"BSDIFF40" + struct.pack("<QQQ", len(control), len(zeros), CHUNK_SIZE)
    return head + control + zeros


def lzma2_bomb() -> bytes:
    """A frame of bsdiff's that says a megabyte and holds two gigabytes of zeros."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 8 << 20, "lc": 3, "lp": 0, "pb": 0}]
    once = lzma.compress(bytes(2 << 20), lzma.FORMAT_RAW, filters=filters)
    return struct.pack("<I", CHUNK_SIZE) + once[:-1] * 1024 + b"\0"


def vast_steps() -> bytes:
    """A few bytes that say: add, copy and skip more than there is."""
    steps = struct.pack("<QQQ", 1 << 62, 1 << 62, 1 << 62)
    return framed(struct.pack("<III", len(steps), 0, 0) + steps)


BOMBS: dict[str, tuple[Method, Callable[[], bytes]]] = {
    "bsdiff of half a gigabyte": (Method.BSDIFF, bz2_bomb),
    "bsdiff of two gigabytes that says a megabyte": (Method.BSDIFF, lzma2_bomb),
    "bsdiff of steps out of its base": (Method.BSDIFF, vast_steps),
    "lzma of two gigabytes": (Method.LZMA, lambda: lzma2_bomb()[4:]),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_delta_that_is_a_bomb_takes_no_memory_and_plain_chunks_are_fetched_instead(
    stage: Stage, title: TitleId, tmp_path: Path, bomb: str
) -> None:
    game = stage.installed(title, tmp_path / "game", OLD)
    release = stage.publish(title, NEW)
    method, make = BOMBS[bomb]
    stage.at_desk(title, lambda desk: name_delta(desk, release, method, make()))
    done = stage.console("update", game)
    assert done.last_json()["failed_deltas"] == 1
    assert done.peak_rss_bytes < MEMORY_MAX
    assert content_of(game) == NEW
    assert stage.type("verify", game).exit_code == 0


async def name_delta(desk: Desk, release: Release, method: Method, payload: bytes) -> None:
    """Let the head name a set of one delta, which is said to make the new file of the old."""
    writer = DeltaBundleWriter()
    packed = writer.add(payload)
    bundle = writer.close()
    await desk.store.put_bundle(bundle)
    old, new = (chunk_id_of(digest_of(files["game.bin"])) for files in (OLD, NEW))
    delta = StoredDelta(
        targets=(new,),
        bases=(old,),
        method=method,
        check=packed.digest[:CHUNK_ID_SIZE],
        bundle=BundleRef(bundle.bundle_id, len(bundle.data)),
        offset=packed.offset,
        size=packed.size,
    )
    index = encode_delta_index([delta], {old: CHUNK_SIZE, new: CHUNK_SIZE})
    ref = DeltaRef(base=1, target=2, index=await desk.store.put_manifest(index))
    await desk.store.set_head(
        Head(title=desk.store.title, channel=LIVE, release=release, deltas=(ref,))
    )
