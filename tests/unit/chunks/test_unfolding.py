"""What is unfolded for a delta, and what stays folded."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from chunks import unfolding
from chunks.archives import UNFOLDED_SIZE_MAX, fold, unfold
from chunks.deflate import Parameters
from chunks.deflate_streams import find_streams
from chunks.unfolding import UnfoldingPlan, plan_unfolding, whole_streams
from tests.deflated import raw_deflate, text, zip_of, zlib_wrapped

NOISE = random.Random(4).randbytes(2000)
MEMBERS = {f"member{seed}": text(20_000 + 500 * seed, seed) for seed in range(8)}
CHANGED = {**MEMBERS, "member3": b"changed " + MEMBERS["member3"]}


def pak(members: dict[str, bytes], level: int = 6) -> bytes:
    return NOISE + b"".join(zlib_wrapped(plain, level).data for plain in members.values()) + NOISE


def whole_plan(target: bytes, base: bytes) -> UnfoldingPlan | None:
    return plan_unfolding(target, 0, len(target), base)


def unfolded_sizes(plan: UnfoldingPlan | None) -> tuple[list[int], list[int]]:
    assert plan is not None
    target, base = plan.recipe.folds.streams, plan.base_folds.streams
    return [s.unfolded_size for s in target], [s.unfolded_size for s in base]


@pytest.mark.parametrize("level", [1, 6, 9])
@pytest.mark.parametrize("archive", [pak, zip_of])
def test_only_the_member_that_changed_is_unfolded(
    archive: Callable[[dict[str, bytes], int], bytes], level: int
) -> None:
    old, new = archive(MEMBERS, level), archive(CHANGED, level)
    plan = whole_plan(new, old)
    old_size = len(MEMBERS["member3"])
    assert unfolded_sizes(plan) == ([old_size + 8], [old_size])
    assert plan is not None
    assert fold(unfold(new, plan.recipe.folds), plan.recipe) == new
    assert MEMBERS["member3"] in unfold(old, plan.base_folds)


def test_an_archive_that_did_not_change_needs_no_plan() -> None:
    assert whole_plan(pak(MEMBERS), b"shifted" + pak(MEMBERS)) is None


def test_bytes_without_streams_need_no_plan() -> None:
    assert whole_plan(NOISE, pak(MEMBERS)) is None


def test_a_new_member_is_unfolded_though_it_comes_from_nowhere() -> None:
    plan = whole_plan(pak(MEMBERS), NOISE)
    assert unfolded_sizes(plan) == ([len(plain) for plain in MEMBERS.values()], [])


def test_a_whole_archive_deflated_at_another_level_is_unfolded() -> None:
    plan = whole_plan(pak(MEMBERS, 6), pak(MEMBERS, 1))
    sizes = [len(plain) for plain in MEMBERS.values()]
    assert unfolded_sizes(plan) == (sizes, sizes)


def test_a_stream_that_zlib_does_not_make_stays_folded_on_both_sides() -> None:
    def foreign(plain: bytes) -> bytes:
        """Two streams' blocks in one: what no single call of zlib makes."""
        header, body = b"\x78\x9c", raw_deflate(plain)
        stored = b"\0" + (300).to_bytes(2, "little") + (300 ^ 0xFFFF).to_bytes(2, "little")
        return header + stored + plain[:300] + body

    old = foreign(text(9000, 1)) + zlib_wrapped(text(7000, 2)).data
    new = foreign(text(9000, 3)) + zlib_wrapped(text(7000, 4)).data
    assert unfolded_sizes(whole_plan(new, old)) == ([7000], [7000])
    assert whole_plan(foreign(text(9000, 3)), old) is None


def cut_plan(start_share: float, end_share: float) -> tuple[bytes, int, int, UnfoldingPlan | None]:
    """Plan a span of two changed members, from a share of the first to a share of the second."""
    first, second = zlib_wrapped(text(30_000, 11)), zlib_wrapped(text(30_000, 12))
    target = NOISE + first.data + second.data + NOISE
    start = len(NOISE) + int(len(first.data) * start_share)
    end = len(NOISE) + len(first.data) + int(len(second.data) * end_share)
    base = (
        zlib_wrapped(b"old" + text(30_000, 11)).data + zlib_wrapped(b"old" + text(30_000, 12)).data
    )
    return target, start, end, plan_unfolding(target, start, end, base)


def test_members_that_reach_out_of_the_span_are_made_whole_and_cut() -> None:
    target, start, end, plan = cut_plan(0.5, 0.5)
    assert plan is not None
    assert plan.start < start < end < plan.end
    assert len(plan.recipe.folds.streams) == 2
    region = target[plan.start : plan.end]
    assert fold(unfold(region, plan.recipe.folds), plan.recipe) == target[start:end]


@pytest.mark.parametrize(("start_share", "end_share"), [(0.9, 0.5), (0.5, 0.1)])
def test_a_member_of_which_little_is_wanted_stays_folded(
    start_share: float, end_share: float
) -> None:
    target, start, end, plan = cut_plan(start_share, end_share)
    assert plan is not None
    assert len(plan.recipe.folds.streams) == 1
    region = target[plan.start : plan.end]
    assert fold(unfold(region, plan.recipe.folds), plan.recipe) == target[start:end]


def test_a_part_of_a_member_without_a_source_stays_folded() -> None:
    data = zlib_wrapped(text(30_000, 11)).data
    assert plan_unfolding(data, len(data) // 4, len(data), NOISE) is None


def test_a_part_of_a_member_that_stands_in_the_base_stays_folded() -> None:
    """The base has only a part of it too, and another member, so no digest tells."""
    data = zlib_wrapped(text(90_000, 11)).data
    start, end = len(data) // 3, len(data) - 2000
    base = data[start - 1000 : end + 1000] + zlib_wrapped(text(9000, 1)).data
    assert plan_unfolding(data, start, end, base) is None


def test_a_large_member_of_which_the_base_has_the_end_stays_folded() -> None:
    data = zlib_wrapped(text(unfolding._LARGE_SIZE, 11)).data
    assert whole_plan(data, data[5000:]) is None


def test_what_would_not_fit_into_memory_stays_folded() -> None:
    """Thirty members of 4 MiB, most of it zeros so that they are soon made, inflate to 120 MiB."""
    data = b"".join(
        zlib_wrapped(text(100_000, seed) + bytes(4 << 20), 1).data for seed in range(30)
    )
    plan = whole_plan(data, NOISE)
    assert plan is not None
    assert 10 <= len(plan.recipe.folds.streams) < 16
    assert plan.recipe.folds.unfolded_size <= UNFOLDED_SIZE_MAX
    assert fold(unfold(data, plan.recipe.folds), plan.recipe) == data


def test_what_worked_is_the_hint_for_the_next_plan() -> None:
    plan = whole_plan(pak(CHANGED, 3), pak(MEMBERS, 3))
    assert plan is not None
    assert plan.hints == (Parameters(3),)
    target = pak(CHANGED, 3)
    again = plan_unfolding(target, 0, len(target), pak(MEMBERS, 3), hints=plan.hints)
    assert again == plan


def test_a_span_is_widened_to_the_streams_it_cuts_and_their_headers() -> None:
    members = {"first": text(9000, 1), "second": text(9000, 2)}
    archive = zip_of(members)
    data = NOISE + archive + NOISE
    first, second = find_streams(data)
    for start, end in ((first.start + 9, second.end - 9), (first.start, second.end)):
        widened = whole_streams(data, start, end)
        assert widened == (len(NOISE), second.end)
        assert len(find_streams(data[slice(*widened)])) == 2
    assert whole_streams(data, 5, second.end + 5) == (5, second.end + 5)
    assert whole_streams(data, 5, 6) == (5, 6)
