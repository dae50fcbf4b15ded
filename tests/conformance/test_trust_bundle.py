"""Bundles that were made once stay readable, and two readers see the same in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import FormatError
from manifests.documents import parse_head
from manifests.trust_bundle import HEAD, encode_bundle, parse_bundle
from tests.conformance.trust_reader import read_bundle
from tests.titles import LIVE, TITLE

GOLDEN = Path(__file__).parent / "golden_trust.bundle"

names = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,30}", fullmatch=True)


def test_both_readers_read_the_golden_bundle() -> None:
    data = GOLDEN.read_bytes()
    documents = parse_bundle(data)
    assert read_bundle(data) == documents
    assert parse_head(documents[HEAD], TITLE, LIVE).release.counter == 1
    assert "timestamp.json" in documents
    assert "1.publisher-studio.json" in documents


@given(st.dictionaries(names, st.binary(max_size=200), min_size=1, max_size=8))
def test_both_readers_read_what_is_written(documents: dict[str, bytes]) -> None:
    data = encode_bundle(documents)
    assert read_bundle(data) == parse_bundle(data) == documents


@given(st.data())
def test_neither_reader_takes_a_bundle_cut_short(data: st.DataObject) -> None:
    whole = GOLDEN.read_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(FormatError):
        parse_bundle(cut)
    with pytest.raises((ValueError, zstandard.ZstdError)):
        read_bundle(cut)
