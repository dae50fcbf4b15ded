"""A publisher whose signature is genuine has consoles open, allocate or count without an end."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import pytest

from manifests.documents import ObjectRef
from playhead.publishing import Desk
from tests.attacks.hostile_builds import (
    Parts,
    Spoil,
    store_file_of_one_chunk,
    store_spoiled,
    zstd_bomb,
)
from tests.attacks.stage import NEW, Game, Stage, game_that_stands

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

GIB = 1 << 30
PROMISED = 96 << 10
"""Plain bytes that a manifest promises of a chunk that is a bomb."""
MEMORY_MAX = 300 << 20
"""Three times what a console needs to do nothing; the smallest bomb here opens to a gibibyte."""


@pytest.fixture(scope="module")
def game(shared_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Game]:
    with game_that_stands(shared_stage, tmp_path_factory.mktemp("bombed") / "game") as game:
        yield game


@pytest.mark.parametrize(
    "bomb",
    [
        zstd_bomb(GIB, declares=GIB),
        zstd_bomb(GIB, declares=PROMISED),
        zstd_bomb(GIB, declares=None),
        zstd_bomb(1 << 20, declares=PROMISED, window_log=30),
        zstd_bomb(PROMISED, declares=0),
        b"\x50\x2a\x4d\x18\xff\xff\xff\x7f" + bytes(90),
    ],
    ids=[
        "says a gibibyte",
        "says what was promised and holds a gibibyte",
        "says nothing and holds a gibibyte",
        "wants a window of a gibibyte",
        "says that it is empty",
        "is to be skipped",
    ],
)
def test_a_zstd_bomb_in_a_chunk_takes_no_memory_and_is_refused(
    stage: Stage, game: Game, bomb: bytes
) -> None:
    async def store(desk: Desk) -> ObjectRef:
        plain = b"what was promised" * 9999
        return await store_file_of_one_chunk(desk, "game.bin", plain[:PROMISED], bomb)

    root = stage.at_desk(game.title, store)
    done = game.refuses(root, "frame", exit_code=8)
    assert done.peak_rss_bytes < MEMORY_MAX


def entries(count: int) -> Spoil:
    def spoil(parts: Parts) -> None:
        parts.counts[0] = count

    return spoil


def chunks(parts: Parts) -> None:
    parts.counts[1] = parts.counts[2] + 1


def text(parts: Parts) -> None:
    parts.counts[4] = 0xFFFFFFFF


def reserved(parts: Parts) -> None:
    parts.counts[5] = 1


def frame(declares: int | None) -> Spoil:
    def spoil(parts: Parts) -> None:
        size = len(parts.body) if declares == 0 else declares
        parts.frame = zstd_bomb(GIB, declares=size)

    return spoil


def file_sizes(parts: Parts) -> None:
    parts.body[parts.entry_count] ^= 1


def huge_file(parts: Parts) -> None:
    parts.body[8 * parts.entry_count] = 0x7F


def huge_chunk(parts: Parts) -> None:
    at = 9 * parts.entry_count + 16 * parts.counts[1]
    parts.body[at + 3 * parts.counts[1]] = 0x7F


def bundle_index(parts: Parts) -> None:
    parts.body[9 * parts.entry_count + 24 * parts.counts[1]] ^= 0x40


def out_of_its_bundle(parts: Parts) -> None:
    at = 9 * parts.entry_count + 28 * parts.counts[1]
    parts.body[at + 2 * parts.counts[1]] = 0x7F


def occurrence(parts: Parts) -> None:
    parts.body[9 * parts.entry_count + 32 * parts.counts[1]] ^= 0x40


def group(**changes: object) -> Spoil:
    return lambda parts: parts.with_group(**changes)


def page_twice(parts: Parts) -> None:
    [found] = parts.root.groups
    parts.with_group(
        pages=found.pages * 2,
        entry_count=found.entry_count * 2,
        chunk_count=found.chunk_count * 2,
        size=found.size * 2,
    )


def group_twice(parts: Parts) -> None:
    [found] = parts.root.groups
    other = msgspec.structs.replace(found, name="other")
    parts.root = msgspec.structs.replace(parts.root, groups=(found, other))


def too_many_pages(parts: Parts) -> None:
    [found] = parts.root.groups
    parts.with_group(pages=found.pages * 4097)


def deep(opening: bytes) -> Spoil:
    def spoil(parts: Parts) -> None:
        title = parts.root.title.encode()
        begin = b'{"format":1,"title":"' + title + b'","groups":'
        parts.root_bytes = begin + opening * (900_000 // len(opening))

    return spoil


SPOILED: dict[str, Spoil] = {
    "four billion entries": entries(0xFFFFFFFF),
    "no entries": entries(0),
    "more chunks than occur": chunks,
    "four gigabytes of text": text,
    "a count that must be zero": reserved,
    "columns that say a gibibyte": frame(GIB),
    "columns that say their size and hold a gibibyte": frame(0),
    "columns that say nothing": frame(None),
    "files that do not add up to chunks": file_sizes,
    "a file of exabytes": huge_file,
    "a chunk of two gigabytes": huge_chunk,
    "a bundle that is not there": bundle_index,
    "a chunk that reaches out of its bundle": out_of_its_bundle,
    "an occurrence of no chunk": occurrence,
    "a group that is larger than its pages": group(size=1 << 50),
    "a group of more chunks than its pages": group(chunk_count=999),
    "a group of no pages": group(pages=()),
    "a page twice": page_twice,
    "a group twice under two names": group_twice,
    "more pages than there may be": too_many_pages,
    "JSON a million deep": deep(b"["),
    "JSON objects a hundred thousand deep": deep(b'{"groups":'),
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_manifest_that_does_not_add_up_takes_no_memory_and_is_refused(
    stage: Stage, game: Game, spoiled: str
) -> None:
    async def store(desk: Desk) -> ObjectRef:
        return await store_spoiled(desk, NEW, SPOILED[spoiled])

    root = stage.at_desk(game.title, store)
    done = game.refuses(root, exit_code=(6, 8))
    assert done.peak_rss_bytes < MEMORY_MAX
    # What is at fault has a name: a root, a page, a group, or a path that is there twice.
    assert re.search(r"(root|page|build|group) |'data/a.pak'", done.errors), done.errors
