"""The worked examples in ``docs/format`` are what they say they are."""

from __future__ import annotations

import re
from pathlib import Path

from chunks.archives import fold, parse_folds, parse_recipe, unfold
from chunks.bundle import parse_index
from chunks.chunk_id import Digest, chunk_id_of, digest_of
from chunks.delta import apply_delta
from chunks.delta_bundle import parse_delta_bundle
from chunks.slices import SliceList, parse_slice_list
from manifests.delta_index import parse_delta_index
from manifests.documents import ObjectRef, PageRef
from manifests.model import BundleRef, Entry, EntryKind
from manifests.page import parse_page
from tests.conformance import delta_reader, reader

FORMAT = Path(__file__).parents[2] / "docs" / "format"
PLAIN = b"hello"


def examples(page: str) -> list[bytes]:
    """Return the fenced blocks of hex below "Example"; behind two spaces stands a remark."""
    text = (FORMAT / page).read_text().partition("# Example\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [
        b"".join(bytes.fromhex(line.partition("  ")[0]) for line in block.splitlines())
        for block in blocks
    ]


def test_the_bundle_is_one() -> None:
    bundle, slice_list, bundle_id = examples("bundle.md")
    (chunk,) = parse_index("example", bundle[len(PLAIN) :], len(bundle))
    assert (chunk.digest, chunk.size, chunk.stored_size) == (digest_of(PLAIN), 5, 5)
    slices = parse_slice_list(slice_list, digest_of(slice_list))
    slices.check(0, bundle)
    assert slices.bundle_id == bundle_id


def test_the_page_is_one() -> None:
    page, digest = examples("manifest.md")
    *_, bundle_id = examples("bundle.md")
    assert digest_of(page) == digest
    ref = PageRef(digest=digest.hex(), size=len(page), entry_count=1, chunk_count=1)
    parsed = parse_page(page, ref)
    assert parsed.entries == (Entry("hello.txt", EntryKind.FILE, len(PLAIN)),)
    assert parsed.chunks.chunk_id(0) == chunk_id_of(digest_of(PLAIN))
    assert parsed.chunks.bundles[0].bundle_id == bundle_id


def test_the_archive_is_one() -> None:
    folded, unfolded, encoded = examples("archives.md")
    recipe = parse_recipe(encoded)
    assert recipe.encode() == encoded
    assert b"fold and unfold, fold and unfold" in unfolded
    assert unfold(folded, recipe.folds) == unfolded
    assert fold(unfolded, recipe) == folded[1:-2]
    assert parse_folds(encoded[:5]) == recipe.folds


def test_the_independent_reader_reads_them_alike() -> None:
    page, _ = examples("manifest.md")
    bundle, _, bundle_id = examples("bundle.md")
    offset, (entry,), (place,) = reader.page_of(page)
    assert (offset, entry.path, entry.size) == (0, "hello.txt", len(PLAIN))
    assert place == (bundle_id.hex(), len(bundle), (0, digest_of(PLAIN)[:16], 5, 5))


def test_the_delta_is_one() -> None:
    bundle, bundle_id, data, digest = examples("deltas.md")
    (packed,) = parse_delta_bundle("example", bundle)
    assert SliceList.of(bundle).bundle_id == bundle_id
    assert digest_of(data) == digest
    index = parse_delta_index(data, ObjectRef(digest=digest.hex(), size=len(data)))
    delta = index.delta(0)
    assert (delta.targets, delta.bases) == ((chunk_id_of(digest_of(PLAIN)),), ())
    assert delta.bundle == BundleRef(Digest(bundle_id), len(bundle))
    assert (delta.check, delta.size) == (packed.digest[:16], packed.size)
    assert apply_delta(delta.method, bundle[: delta.size], b"", len(PLAIN)) == PLAIN


def test_the_independent_reader_makes_the_same_of_it() -> None:
    bundle, bundle_id, data, _ = examples("deltas.md")
    (delta,) = delta_reader.index_of(data)
    assert delta.bundle == (bundle_id.hex(), len(bundle))
    delta_reader.check_records(bundle)
    made = dict(delta_reader.made_of(delta, bundle, {}))
    assert made == {digest_of(PLAIN)[:16]: PLAIN}
