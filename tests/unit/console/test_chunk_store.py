"""Chunks that wait for a commit are there whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chunks.chunk_id import CHUNK_ID_SIZE, digest_of
from console.chunk_store import (
    good_chunks,
    store_chunk,
    stored_chunks,
    stored_name,
    unwanted_chunks,
)
from console.layout import Layout
from console.safe_paths import Folder
from manifests.model import ChunkTable, Entry, EntryKind, Shard, starts_of

CONTENTS = [b"one", b"three", b"fourteen"]


def table() -> ChunkTable:
    ids = b"".join(digest_of(content)[:CHUNK_ID_SIZE] for content in CONTENTS)
    sizes = np.array([len(content) for content in CONTENTS], np.uint32)
    zeros = np.zeros(len(CONTENTS), np.uint32)
    return ChunkTable(np.frombuffer(ids, f"V{CHUNK_ID_SIZE}"), sizes, sizes, zeros, zeros, ())


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Folder]:
    with Folder.at(tmp_path) as folder:
        yield folder


def test_what_is_stored_is_found(staging: Folder) -> None:
    store_chunk(staging, 1, CONTENTS[1])
    assert stored_chunks(staging, table()).tolist() == [False, True, False]
    assert good_chunks(staging, table(), np.array([0, 1], np.uint32)) == [1]


def test_chunk_of_another_size_is_not_stored(staging: Folder) -> None:
    store_chunk(staging, 1, CONTENTS[2])
    assert not stored_chunks(staging, table()).any()


def test_damaged_chunk_is_not_good(staging: Folder) -> None:
    store_chunk(staging, 1, b"tHree")
    assert stored_chunks(staging, table())[1]
    assert good_chunks(staging, table(), np.array([1], np.uint32)) == []


def test_what_was_not_finished_and_what_nobody_needs_is_unwanted(
    staging: Folder, tmp_path: Path
) -> None:
    store_chunk(staging, 0, CONTENTS[0])
    store_chunk(staging, 1, CONTENTS[1])
    for name in ("chunk.1.new", "chunk.99999999999", "0.1", "saved.1"):
        (tmp_path / name).write_bytes(b"")
    entries = (Entry("a", EntryKind.FILE, len(CONTENTS[1])),)
    rows = np.array([1], np.uint32)
    shard = Shard("launch", entries, rows, starts_of([len(CONTENTS[1])]))
    none, every = np.zeros(1, np.bool_), np.ones(1, np.bool_)
    layout = Layout([shard], [none], stored=[every])
    unwanted = set(unwanted_chunks(staging, layout))
    assert unwanted == {stored_name(0), "chunk.1.new", "chunk.99999999999"}
