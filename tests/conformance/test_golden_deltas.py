"""Golden deltas stay readable: by the product, and by a reader made from the specification."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from blake3 import blake3

from chunks.chunk_id import chunk_id_of, digest_of
from chunks.delta import Effort, Method, apply_delta, make_delta
from chunks.delta_bundle import parse_delta_bundle
from manifests import locations
from manifests.delta_index import parse_delta_index
from manifests.documents import parse_delta_set, parse_head
from manifests.names import Channel
from tests import programs
from tests.conformance import delta_reader
from tests.conformance.make_golden import TITLE, write
from tests.conformance.make_golden_deltas import BASES, TARGETS, golden_deltas
from tests.deltas import likeness

GOLDEN = Path(__file__).parent / "golden_deltas"
FOLDER = GOLDEN / "t" / TITLE
HAVE = {blake3(base).digest()[:16]: base for base in BASES}
MADE = {blake3(target).digest()[:16]: target for target in TARGETS}


def ref_in(folder: Path) -> dict[str, object]:
    (named,) = json.loads((folder / "h" / "live").read_bytes())["deltas"]
    assert (named["base"], named["target"]) == (1, 2)
    found: dict[str, object] = named["index"]
    return found


def test_the_independent_reader_makes_the_golden_chunks() -> None:
    assert delta_reader.read_all(FOLDER, ref_in(FOLDER), HAVE) == MADE


def test_the_product_makes_the_golden_chunks() -> None:
    head = parse_head((FOLDER / "h" / "live").read_bytes(), TITLE, Channel("live"))
    (named,) = head.deltas
    known = (GOLDEN / locations.delta_set_key(TITLE, 1, 2)).read_bytes()
    assert parse_delta_set(known, TITLE, 1, 2).index == named.index
    data = (GOLDEN / locations.manifest_key(TITLE, named.index.raw_digest)).read_bytes()
    index = parse_delta_index(data, named.index)
    made: dict[bytes, bytes] = {}
    for number in range(len(index)):
        delta = index.delta(number)
        key = locations.bundle_key(TITLE, delta.bundle.bundle_id)
        raw = (GOLDEN / key).read_bytes()
        (packed,) = (at for at in parse_delta_bundle(key, raw) if at.offset == delta.offset)
        assert packed.digest[:16] == delta.check
        payload = raw[delta.offset : delta.offset + delta.size]
        sizes = index.sizes[index.target_rows(number)].tolist()
        base = b"".join(HAVE[chunk] for chunk in delta.bases)
        target, at = apply_delta(delta.method, payload, base, sum(sizes)), 0
        for chunk, size in zip(delta.targets, sizes, strict=True):
            made[chunk] = bytes(target[at : at + size])
            assert chunk_id_of(digest_of(made[chunk])) == chunk
            at += size
    assert made == MADE
    # What deflates again is as zlib of the day has it: no bytes to be held for ever.
    assert {*index.methods.tolist()} == {*Method} - {Method.UNFOLDED, Method.RELINKED}


def test_what_is_written_now_reads_as_what_was_written_then(tmp_path: Path) -> None:
    write(tmp_path, golden_deltas())
    folder = tmp_path / "t" / TITLE
    assert delta_reader.read_all(folder, ref_in(folder), HAVE) == MADE


@pytest.mark.parametrize("kind", ["b", "s", "m"])
def test_the_independent_reader_notices_any_changed_byte(kind: str, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / TITLE)
    (path,) = (folder / kind).iterdir()
    whole = path.read_bytes()
    for at in range(0, len(whole), 61):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"."):
            delta_reader.read_all(folder, ref_in(folder), HAVE)


def test_the_golden_relinked_delta_makes_its_program() -> None:
    payload = (Path(__file__).parent / "golden_relinked.delta").read_bytes()
    assert apply_delta(Method.RELINKED, payload, programs.BASE, len(programs.TARGET)) == (
        programs.TARGET
    )
    made = delta_reader.apply(Method.RELINKED, payload, programs.BASE, len(programs.TARGET))
    assert made == programs.TARGET


@pytest.mark.parametrize("size", [5, 3000, 200_000])
@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize("has_base", [True, False])
def test_the_independent_reader_applies_what_is_made_now(
    size: int, effort: Effort, has_base: bool
) -> None:
    base, target = likeness(size, size)
    base = base if has_base else b""
    delta = make_delta(target, base, effort)
    of = b"" if delta.method is Method.LZMA else base
    assert delta_reader.apply(delta.method, delta.payload, of, len(target)) == target
