"""Where streams are cut never changes: a library's update, or another library, cuts the same."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from chunks.chunker import CHUNK_SIZE_MIN, cut
from tests.conformance import reader
from tests.conformance.inputs import CUT_INPUTS, named_input

VECTORS = json.loads((Path(__file__).parent / "golden" / "cuts.json").read_text())


def test_every_vector_is_there() -> None:
    assert list(VECTORS) == CUT_INPUTS


@pytest.mark.parametrize("name", CUT_INPUTS)
def test_the_product_cuts_as_ever(name: str) -> None:
    assert cut(named_input(name), is_last=True) == VECTORS[name]


@pytest.mark.parametrize("name", CUT_INPUTS)
def test_the_specification_cuts_as_the_product(name: str) -> None:
    assert [len(chunk) for chunk in reader.cut(named_input(name))] == VECTORS[name]


@pytest.mark.parametrize("parity", [0, 1])
def test_the_last_byte_of_an_odd_segment_cuts_nothing(parity: int) -> None:
    """A segment that ends right behind a byte that cuts: it cuts only if its position is odd."""
    contents = (named_input(f"random/{seed}/300000") for seed in itertools.count())
    cut_once = ((content, cut(content, is_last=True)[0]) for content in contents)
    content, first = next(
        (content, first)
        for content, first in cut_once
        if CHUNK_SIZE_MIN < first < len(content) and first % 2 == parity
    )
    expected = [first, 1] if parity else [first + 1]
    assert cut(content[: first + 1], is_last=True) == expected
    assert [len(chunk) for chunk in reader.cut(content[: first + 1])] == expected


def test_files_are_joined_below_the_minimum_only() -> None:
    small, large = b"s" * (CHUNK_SIZE_MIN - 1), b"L" * CHUNK_SIZE_MIN
    files = [small, b"", small, large, large, b"", small]
    assert list(reader.segments(files)) == [small + small, large, large, small]
