"""Golden objects stay readable: by the product, and by a reader made from the specification."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from chunks import codec
from chunks.bundle import TAIL_SIZE, index_size, parse_index, parse_tail
from chunks.chunk_id import Digest, check_digest, chunk_id_of
from chunks.slices import parse_slice_list
from manifests import locations
from manifests.assembly import assemble
from manifests.documents import parse_head, parse_release, parse_root
from manifests.model import Build
from manifests.names import Channel
from manifests.page import parse_page
from tests.conformance import reader
from tests.conformance.make_golden import TITLE, publish_all, write

GOLDEN = Path(__file__).parent / "golden"
TREES = json.loads((GOLDEN / "trees.json").read_text())
CHANNELS = ["live", "beta"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(GOLDEN / "t" / TITLE, tmp_path / TITLE)


def tree_of(folder: Path) -> dict[str, str]:
    """Describe what is in ``folder`` as ``trees.json`` does; folders only where they are empty."""
    tree: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            tree[name] = f"link {path.readlink()}"
        elif path.is_dir():
            if not any(path.iterdir()):
                tree[name] = "directory"
        else:
            kind = "executable" if path.stat().st_mode & stat.S_IXUSR else "file"
            tree[name] = f"{kind} {blake3(path.read_bytes()).hexdigest()}"
    return tree


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_independent_reader_rebuilds_the_golden_tree(channel: str, tmp_path: Path) -> None:
    module = "tests.conformance.reader"
    command = [sys.executable, "-m", module, str(GOLDEN), TITLE, channel, str(tmp_path / "out")]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], timeout=60)
    assert tree_of(tmp_path / "out") == TREES[channel]


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_product_reads_the_golden_tree(channel: str) -> None:
    build = golden_build(Channel(channel))
    tree: dict[str, str] = {}
    for shard, index, entry in build.entries():
        kind = entry.kind.name.lower()
        if entry.kind.is_file:
            pieces = shard.pieces_of_entry(index)
            content = b"".join(
                plain_chunk(build, piece.row)[piece.chunk_offset :][: piece.length]
                for piece in pieces
            )
            tree[entry.path] = f"{kind} {blake3(content).hexdigest()}"
        else:
            tree[entry.path] = f"{kind} {entry.target}".strip()
    assert tree == TREES[channel]


def test_golden_has_one_of_everything() -> None:
    live, beta = golden_build(Channel("live")), golden_build(Channel("beta"))
    stored_raw = live.chunks.stored_sizes == live.chunks.sizes
    assert stored_raw.any()
    assert not stored_raw.all()
    assert max(len(group.pages) for group in live.root.groups) > 1
    assert any(len(set(shard.occurrences)) < len(shard.occurrences) for shard in live.shards)
    assert len({*live.chunks.bundles} & {*beta.chunks.bundles}) > 0, "no bundle of the older build"
    assert {line.split()[0] for tree in TREES.values() for line in tree.values()} == {
        "file",
        "executable",
        "directory",
        "link",
    }


@pytest.mark.parametrize("channel", CHANNELS)
def test_golden_streams_are_cut_as_the_specification_says(channel: str) -> None:
    build = golden_build(Channel(channel))
    entries = reader.build(GOLDEN / "t" / TITLE, channel)
    content = {entry.path: entry.content for entry in entries}
    for shard in build.shards:
        files = [content[entry.path] for entry in shard.entries]
        cut = [len(c) for segment in reader.segments(files) for c in reader.cut(segment)]
        assert cut == build.chunks.sizes[shard.occurrences].tolist()


def test_what_is_written_now_reads_as_what_was_written_then(tmp_path: Path) -> None:
    objects, trees = publish_all()
    write(tmp_path, objects)
    assert trees == TREES
    for channel in CHANNELS:
        out = tmp_path / channel
        reader.write(reader.build(tmp_path / "t" / TITLE, channel), out)
        assert tree_of(out) == TREES[channel]


@pytest.mark.parametrize("kind", ["b", "s", "m", "r", "h"])
def test_the_independent_reader_notices_any_changed_byte(kind: str, copy: Path) -> None:
    """All of the live release's objects of one kind, each with its middle bit flipped."""
    noticed = 0
    for path in sorted((copy / kind).iterdir()):
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        reader.bundle_of.cache_clear()
        results = [readable(copy, channel) for channel in CHANNELS]
        assert not all(results), path.name
        noticed += 1
        path.write_bytes(whole)
    assert noticed >= 2


def readable(folder: Path, channel: str) -> bool:
    try:
        reader.build(folder, channel)
    except (ValueError, KeyError, TypeError, OSError):
        return False
    return True


def golden(key: str) -> bytes:
    return (GOLDEN / key).read_bytes()


def golden_build(channel: Channel) -> Build:
    head = parse_head(golden(locations.head_key(TITLE, channel)), TITLE, channel)
    counter = head.release.counter
    release = parse_release(golden(locations.release_key(TITLE, counter)), TITLE, counter)
    assert release == head.release
    digest = release.root.raw_digest
    root = parse_root(golden(locations.manifest_key(TITLE, digest)), digest, TITLE)
    pages = [
        [parse_page(golden(locations.manifest_key(TITLE, ref.raw_digest)), ref) for ref in g.pages]
        for g in root.groups
    ]
    return assemble(digest, root, pages)


def plain_chunk(build: Build, row: int) -> bytes:
    """Open a chunk as the product does: by the build's table, checked against the bundle's own."""
    table = build.chunks
    ref = table.bundles[int(table.bundle_indexes[row])]
    raw = golden(locations.bundle_key(TITLE, ref.bundle_id))
    slices = parse_slice_list(golden(locations.slice_list_key(TITLE, ref.bundle_id)), ref.bundle_id)
    assert (slices.bundle_size, len(raw)) == (ref.size, ref.size)
    for index in range(len(slices.digests)):
        start, end = slices.span(index)
        slices.check(index, raw[start:end])
    count = parse_tail("golden", raw[-TAIL_SIZE:], len(raw))
    stored = {c.offset: c for c in parse_index("golden", raw[-index_size(count) :], len(raw))}
    chunk = stored[int(table.offsets[row])]
    assert chunk_id_of(chunk.digest) == table.chunk_id(row)
    assert (chunk.size, chunk.stored_size) == (table.sizes[row], table.stored_sizes[row])
    plain = codec.unpack(raw[chunk.offset : chunk.offset + chunk.stored_size], chunk.size)
    check_digest("chunk", plain, Digest(chunk.digest))
    return bytes(plain)


def test_golden_stays_small() -> None:
    size = sum(
        len(Path(at, name).read_bytes()) for at, _, names in os.walk(GOLDEN) for name in names
    )
    assert size < 300_000
