"""Which slices a warm brings, and in which order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunks.chunk_id import Digest
from chunks.slices import BUNDLE_SIZE_MAX, SLICE_SIZE
from edge.operating.play_order import WantedSlice, _slices, slices_of_build
from kit.errors import NotFound
from manifests.assembly import assemble
from manifests.documents import parse_root
from manifests.locations import manifest_key
from manifests.model import Build, BundleRef
from manifests.page import parse_page
from tests.folder_publisher import TITLE, FolderPublisher
from tests.trees import write_tree

BUNDLES = tuple(BundleRef(Digest(bytes([n]) * 32), BUNDLE_SIZE_MAX) for n in range(3))

spans = st.lists(
    st.tuples(
        st.integers(0, len(BUNDLES) - 1),
        st.integers(0, BUNDLE_SIZE_MAX - 1),
        st.integers(1, 3 * SLICE_SIZE),
    ).filter(lambda span: span[1] + span[2] <= BUNDLE_SIZE_MAX),
    max_size=30,
)


@given(spans)
def test_every_slice_that_a_span_touches_comes_once_and_in_order_of_first_touch(
    wanted: list[tuple[int, int, int]],
) -> None:
    expected: dict[WantedSlice, None] = {}
    for bundle, offset, size in wanted:
        for index in range(BUNDLE_SIZE_MAX // SLICE_SIZE):
            start = index * SLICE_SIZE
            if start < offset + size and offset < start + SLICE_SIZE:
                expected[WantedSlice(BUNDLES[bundle], index)] = None
    columns = [np.array([span[i] for span in wanted], np.uint32) for i in range(3)]
    assert _slices(BUNDLES, *columns) == list(expected)


def build_of(folder: Path) -> Build:
    publisher = FolderPublisher()
    release = publisher.publish(
        folder, group_of=lambda path: "world" if path.startswith("world") else "launch"
    )
    ref = release.root
    root = parse_root(publisher.objects[manifest_key(TITLE, ref.raw_digest)], ref.raw_digest, TITLE)
    pages = [
        [
            parse_page(publisher.objects[manifest_key(TITLE, page.raw_digest)], page)
            for page in group.pages
        ]
        for group in root.groups
    ]
    return assemble(ref.raw_digest, root, pages)


def test_a_group_needs_the_slices_of_its_own_chunks_and_all_groups_need_all(
    tmp_path: Path,
) -> None:
    write_tree(tmp_path, seed=3)
    build = build_of(tmp_path)
    launch, world = slices_of_build(build, ["launch"]), slices_of_build(build, ["world"])
    everything = slices_of_build(build)
    assert everything[: len(launch)] == launch  # what starts the game comes first
    assert set(everything) == set(launch) | set(world)
    for group, wanted in (("launch", launch), ("world", world)):
        [shard] = [shard for shard in build.shards if shard.name == group]
        for row in shard.occurrences.tolist():
            bundle = build.chunks.bundles[build.chunks.bundle_indexes[row]]
            first = int(build.chunks.offsets[row])
            last = first + int(build.chunks.stored_sizes[row]) - 1
            assert WantedSlice(bundle, first // SLICE_SIZE) in wanted
            assert WantedSlice(bundle, last // SLICE_SIZE) in wanted


def test_a_group_that_is_none_is_named_with_those_there_are(tmp_path: Path) -> None:
    write_tree(tmp_path, seed=3)
    with pytest.raises(NotFound, match="'demo'; the build has launch, world"):
        slices_of_build(build_of(tmp_path), ["demo"])
