"""What the documentation says and what the code does are the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chunks import archives, bundle, chunker, codec, deflate, delta, slices, varints
from manifests import (
    delta_index,
    documents,
    manifest_delta,
    page,
    paths,
    trust,
    trust_bundle,
    trust_roles,
)

ROOT = Path(__file__).parents[2]
FORMAT = ROOT / "docs" / "format"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}


def table(page_name: str, heading: str) -> dict[str, str]:
    """Return the first two columns of the table below ``heading``."""
    below = (FORMAT / page_name).read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\|.*", below, re.M)
    ]
    return {row[0]: row[1] for row in cells[2:]}


def numbers(text: str) -> list[int]:
    """Return every number in ``text``: ``1 MiB`` as bytes, ``1,024`` without its comma."""
    found = re.findall(r"([0-9][0-9,]*)(?: (KiB|MiB))?", text)
    return [int(digits.replace(",", "")) * UNITS[unit] for digits, unit in found]


LIMITS = {
    "chunk, plain": [chunker.CHUNK_SIZE_MAX],
    "bundle": [slices.BUNDLE_SIZE_MAX],
    "head, release": [documents.DOCUMENT_SIZE_MAX],
    "root": [documents.ROOT_SIZE_MAX],
    "trust bundle, stored and plain": [trust_bundle.BUNDLE_SIZE_MAX, trust_bundle.PLAIN_SIZE_MAX],
    "documents in a trust bundle": [trust_bundle.DOCUMENT_COUNT_MAX],
    "metadata of trust, one document": [trust_roles.METADATA_SIZE_MAX],
    "page, stored": [documents.PAGE_STORED_SIZE_MAX],
    "page, plain": [page.PLAIN_SIZE_MAX],
    "groups": [documents.GROUP_COUNT_MAX],
    "pages in a build": [documents.PAGE_COUNT_MAX],
    "entries in a build": [documents.ENTRY_COUNT_MAX],
    "chunks in a build": [documents.CHUNK_COUNT_MAX],
    "bytes of a group's stream": [documents.STREAM_SIZE_MAX],
    "base, target, payload of a delta": [
        delta.BASE_SIZE_MAX,
        delta.TARGET_SIZE_MAX,
        delta.DELTA_SIZE_MAX,
    ],
    "the same, unfolded": [delta.FLAT_BASE_SIZE_MAX, delta.FLAT_TARGET_SIZE_MAX],
    "delta index, stored and plain": [documents.PAGE_STORED_SIZE_MAX, delta_index.PLAIN_SIZE_MAX],
    "objects in a manifest delta": [manifest_delta.PART_COUNT_MAX],
    "deltas in an index": [delta_index.DELTA_COUNT_MAX],
    "streams in a recipe": [archives.STREAM_COUNT_MAX],
    "parameters in a recipe": [archives.PARAMETERS_COUNT_MAX],
    "bytes to unfold or to fold": [archives.FOLDED_SIZE_MAX],
    "bytes unfolded": [archives.UNFOLDED_SIZE_MAX],
    "path": [paths.PATH_SIZE_MAX, paths.PART_SIZE_MAX],
}


def test_every_limit_is_the_constant_in_the_code() -> None:
    assert {what: numbers(limit) for what, limit in table("README.md", "Limits").items()} == LIMITS


def test_the_cutters_parameters_are_the_constants_in_the_code() -> None:
    assert {what: numbers(value) for what, value in table("chunks.md", "Cutting").items()} == {
        "minimum": [chunker.CHUNK_SIZE_MIN],
        "average": [chunker.CHUNK_SIZE_AVERAGE],
        "maximum": [chunker.CHUNK_SIZE_MAX],
    }


@pytest.mark.parametrize(
    ("page_name", "sentence", "expected"),
    [
        (
            "bundle.md",
            r"records reach its target: (.*?)\.",
            [bundle.FIRST_TARGET_SIZE, bundle.LAUNCH_TARGET_SIZE, bundle.TARGET_SIZE],
        ),
        ("bundle.md", r"in \*\*slices\*\* of (.*?),", [slices.SLICE_SIZE]),
        (
            "manifest.md",
            r"The first page of (the first group aims at .*?)\.",
            [page.FIRST_PAGE_AIM, page.PAGE_AIM],
        ),
        ("archives.md", r"four bytes, so it is below (.*?), and", [varints.NUMBER_MAX + 1]),
        ("archives.md", r"at most ([0-9,]+) times its folded size", [deflate.RATIO_MAX]),
        ("archives.md", r"S, at most (.*?) \|", [archives.STREAM_COUNT_MAX]),
        ("archives.md", r"P, at most (.*?) \|", [archives.PARAMETERS_COUNT_MAX]),
        ("archives.md", r"streams unfolded exceeds (.*?)\.", [archives.UNFOLDED_SIZE_MAX]),
        ("chunks.md", r"would save less than (.*?) %", [codec.GAIN_MIN_PERCENT]),
        ("chunks.md", r"windows above (.*?)\.", [codec.WINDOW_SIZE_MAX]),
    ],
)
def test_a_sentence_names_the_constants_in_the_code(
    page_name: str, sentence: str, expected: list[int]
) -> None:
    found = re.search(sentence, (FORMAT / page_name).read_text(), re.DOTALL)
    assert found is not None
    assert numbers(found[1]) == expected


def anchors(text: str) -> set[str]:
    """Return what headings can be linked to by: lower case, words joined, punctuation dropped."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = path.parent / name if name else path
        assert linked.exists(), f"{target}: nothing is there"
        assert not anchor or anchor in anchors(linked.read_text()), f"{target}: no such heading"


def test_steps_of_trust_have_the_numbers_of_their_page() -> None:
    """Steps 2 and 3 are the library's; all others are functions that say which they are."""
    steps = (FORMAT / "trust.md").read_text().partition("## What a console does\n")[2]
    numbered = [int(number) for number in re.findall(r"^([0-9]+)\. \*\*", steps, re.M)]
    said = {
        int(number) for number in re.findall(r'"""Step ([0-9]+)', Path(trust.__file__).read_text())
    }
    assert numbered == list(range(1, len(numbered) + 1))
    assert said == set(numbered) - {2, 3}
