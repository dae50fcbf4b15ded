"""Which delta sets a head names: those that lead to its release, the nearest first."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from manifests.delta_plan import DEPTH_MAX
from manifests.documents import DELTA_SETS_MAX, DeltaSet, ObjectRef, Release
from manifests.names import Version
from packager.delta_sets import NewSet, named_sets
from packager.patches import DeltaTally
from tests.pushes import TITLE


def release(counter: int, build: str) -> Release:
    return Release(
        title=TITLE,
        counter=counter,
        version=Version(f"1.{counter}"),
        created_at="2026-05-04T10:00:00Z",
        root=ObjectRef(digest=build * 64, size=100),
    )


def leads(base: int, target: int) -> DeltaSet:
    index = ObjectRef(digest=f"{base:032x}{target:032x}", size=50)
    return DeltaSet(
        title=TITLE, base=base, target=target, index=index, count=1, size=9, target_size=99,
        plain_size=66,
    )  # fmt: skip


def named(
    of: int, builds: str, sets: Sequence[tuple[int, int]], gone: Sequence[int] = ()
) -> list[tuple[int, int]]:
    """What the head of release ``of`` names; ``builds`` has a letter for each release's build."""
    releases = [release(at, build) for at, build in enumerate(builds, start=1)]
    head = releases[of - 1]
    known = [each for each in releases if each.counter not in gone]
    found = named_sets(head, known, [leads(*each) for each in sets])
    for ref in found:
        assert leads(ref.base, int(ref.index.digest[32:], 16)).index == ref.index
    return [(ref.base, ref.target) for ref in found]


@pytest.mark.parametrize(
    ("of", "builds", "sets", "expected"),
    [
        (1, "a", [], []),
        (2, "ab", [(1, 2)], [(1, 2)]),
        (1, "ab", [(1, 2)], []),
        (3, "abc", [(1, 2), (2, 3)], [(2, 3), (1, 2)]),
        (3, "abc", [(1, 2), (2, 3), (1, 3)], [(2, 3), (1, 3), (1, 2)]),
        (4, "abcd", [(1, 2), (3, 4)], [(3, 4)]),
        (5, "abcde", [(1, 2), (2, 3), (3, 4), (4, 5)], [(4, 5), (3, 4), (2, 3)]),
        (3, "aba", [(1, 2)], []),
        (3, "aba", [(1, 2), (2, 1)], [(2, 3), (1, 2)]),
        (3, "aba", [(2, 3)], [(2, 3)]),
        (4, "abab", [(1, 2)], [(1, 4)]),
        (2, "abc", [(1, 2), (3, 2)], [(3, 2), (1, 2)]),
    ],
    ids=[
        "nothing", "one", "not what leads away", "a chain", "a short cut beside a chain",
        "a gap in the chain", "no more steps than a console takes",
        "a rollback has none that leads back", "a rollback by a set made for it",
        "a rollback by counter", "back again by what led there before", "from two sides",
    ],
)  # fmt: skip
def test_a_head_names_what_leads_to_its_build(
    of: int, builds: str, sets: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    assert named(of, builds, sets) == expected


def test_a_chain_has_at_most_three_steps() -> None:
    sets = [(at, at + 1) for at in range(1, 9)]
    assert len(named(9, "abcdef012", sets)) == DEPTH_MAX


def test_the_nearest_are_kept_if_there_are_too_many() -> None:
    builds = "0123456789abcdef"
    to_last = [(at, 16) for at in range(1, 16)]
    to_before = [(at, 15) for at in range(1, 15)]
    found = named(16, builds, to_last + to_before)
    assert len(found) == min(DELTA_SETS_MAX, 29)
    assert found[:15] == [(at, 16) for at in range(15, 0, -1)][: len(found[:15])]


def test_a_set_whose_base_was_swept_is_named_still() -> None:
    """Consoles that play it are out there, though nobody can fetch it any more."""
    assert named(2, "ab", [(1, 2)], gone=[1]) == [(1, 2)]


def test_a_set_to_a_release_that_was_swept_is_not_followed() -> None:
    assert named(3, "abc", [(1, 2), (2, 3)], gone=[2]) == [(2, 3)]


def test_a_new_set_is_described_once_its_target_has_a_counter() -> None:
    tally = DeltaTally(count=3, size=50, target_size=900, plain_size=500)
    index = ObjectRef(digest="a" * 64, size=70)
    found = NewSet(release(4, "a"), index, tally).to(release(7, "b"))
    assert (found.base, found.target, found.index) == (4, 7, index)
    assert (found.count, found.size, found.target_size, found.plain_size) == (3, 50, 900, 500)
