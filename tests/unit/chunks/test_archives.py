"""Unfolding and folding by recipe, and recipes that lie."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from chunks.archives import (
    FOLDED_SIZE_MAX,
    PARAMETERS_COUNT_MAX,
    STREAM_COUNT_MAX,
    UNFOLDED_SIZE_MAX,
    Fold,
    Folds,
    Recipe,
    fold,
    parse_folds,
    parse_recipe,
    unfold,
)
from chunks.deflate import Parameters
from chunks.varints import NUMBER_MAX, encode_varints
from kit.errors import FormatError
from tests.deflated import bomb, raw_deflate, text

ONE, TWO = text(3000, 1), text(4000, 2)
LEVELS = (Parameters(6), Parameters(9))
STREAMS = tuple(
    raw_deflate(plain, made.level) for plain, made in zip((ONE, TWO), LEVELS, strict=True)
)
FOLDED = b"head" + STREAMS[0] + b"middle" + STREAMS[1] + b"tail!"
UNFOLDED = b"head" + ONE + b"middle" + TWO + b"tail!"
FOLDS = Folds((Fold(4, len(STREAMS[0]), len(ONE)), Fold(6, len(STREAMS[1]), len(TWO))), 5)
RECIPE = Recipe(FOLDS, LEVELS)

NUMBERS = [
    *(2, 5, 4, 6, len(STREAMS[0]), len(STREAMS[1]), len(ONE), len(TWO)),
    *(1, 2, 2, 6, 15, 8, 0, 9, 15, 8, 0, 0, 1),
]
"""What a recipe with 1 and 2 bytes cut is made of."""
CUT = Recipe(FOLDS, LEVELS, 1, 2)


def test_unfolding_inflates_the_streams_and_keeps_the_rest() -> None:
    assert unfold(FOLDED, FOLDS) == UNFOLDED
    assert (FOLDS.folded_size, FOLDS.unfolded_size) == (len(FOLDED), len(UNFOLDED))


def test_folding_makes_the_same_bytes_again() -> None:
    assert fold(UNFOLDED, RECIPE) == FOLDED


def test_any_buffer_unfolds_and_folds() -> None:
    assert unfold(memoryview(FOLDED), FOLDS) == unfold(bytearray(FOLDED), FOLDS) == UNFOLDED
    assert fold(memoryview(UNFOLDED), RECIPE) == fold(bytearray(UNFOLDED), RECIPE) == FOLDED


def test_bytes_without_streams_unfold_to_themselves() -> None:
    none = Folds((), 4)
    assert unfold(b"as is"[:4], none) == fold(b"as is"[:4], Recipe(none, ())) == b"as i"
    assert parse_folds(none.encode()) == none


def test_what_is_cut_is_not_returned() -> None:
    head_size, tail_size = 4 + 100, 5 + 50  # both in the middle of a stream
    recipe = Recipe(FOLDS, LEVELS, head_size, tail_size)
    assert fold(UNFOLDED, recipe) == FOLDED[head_size:-tail_size]
    assert recipe.size == len(FOLDED) - head_size - tail_size


def test_what_was_encoded_is_parsed() -> None:
    assert CUT.encode() == encode_varints(NUMBERS)
    assert parse_recipe(CUT.encode()) == CUT
    assert parse_folds(FOLDS.encode()) == FOLDS


def test_equal_parameters_are_written_once() -> None:
    folds = Folds((Fold(0, 10, 20),) * 100, 0)
    recipe = Recipe(folds, (Parameters(6), Parameters(9)) * 50)
    assert len(recipe.encode()) == 2 + 3 * 100 + 3 + 2 * 4 + 100
    assert parse_recipe(recipe.encode()) == recipe


def test_a_stream_without_a_byte_of_gap_follows_the_one_before() -> None:
    folds = Folds(
        (Fold(0, len(STREAMS[0]), len(ONE)), Fold(0, len(STREAMS[1]), len(TWO))), tail_size=0
    )
    assert unfold(b"".join(STREAMS), folds) == ONE + TWO
    assert fold(ONE + TWO, Recipe(folds, LEVELS)) == b"".join(STREAMS)


WRONG_NUMBERS = {
    "more streams than numbers": (0, 200, "cannot hold"),
    "too many streams": (0, STREAM_COUNT_MAX + 1, "at most 65536"),
    "one stream fewer": (0, 1, "folds|recipe"),
    "a tail too large": (1, FOLDED_SIZE_MAX, "at most"),
    "a gap too large": (2, FOLDED_SIZE_MAX, "at most"),
    "a stream of nothing": (4, 0, "cannot inflate to"),
    "a stream too large": (4, FOLDED_SIZE_MAX, "at most"),
    "a stream that inflates to nothing": (6, 0, "cannot inflate to"),
    "a stream that inflates past what is possible": (6, 3_000_000, "cannot inflate to"),
    "a head as large as all": (8, len(FOLDED) - 2, "cannot be cut"),
    "a tail as large as all": (9, NUMBER_MAX, "cannot be cut"),
    "too many parameters": (10, PARAMETERS_COUNT_MAX + 1, "at most 256"),
    "parameters that no stream has": (10, 3, "folds|recipe"),
    "no parameters": (10, 0, "folds|recipe"),
    "level 0": (11, 0, "does not deflate"),
    "level 10": (11, 10, "does not deflate"),
    "a window of 256 bytes": (12, 8, "does not deflate"),
    "memory level 0": (13, 0, "does not deflate"),
    "an unknown strategy": (14, 5, "does not deflate"),
    "parameters listed twice": (15, 6, "listed twice"),
    "parameters out of order": (19, 1, "order of first use"),
    "parameters that are not listed": (20, 2, "order of first use"),
}


@pytest.mark.parametrize(("at", "number", "message"), WRONG_NUMBERS.values(), ids=WRONG_NUMBERS)
def test_a_recipe_with_a_wrong_number_is_refused(at: int, number: int, message: str) -> None:
    wrong = [*NUMBERS]
    wrong[at] = number
    with pytest.raises(FormatError, match=message):
        parse_recipe(encode_varints(wrong))


@pytest.mark.parametrize("kept_size", range(len(CUT.encode())))
def test_a_recipe_cut_short_is_refused(kept_size: int) -> None:
    with pytest.raises(FormatError):
        parse_recipe(CUT.encode()[:kept_size])


def test_bytes_behind_a_recipe_are_refused() -> None:
    with pytest.raises(FormatError, match="recipe: 1 bytes are left over"):
        parse_recipe(CUT.encode() + b"\0")
    with pytest.raises(FormatError, match="folds: 1 bytes are left over"):
        parse_folds(FOLDS.encode() + b"\0")


def test_what_a_reader_would_refuse_cannot_be_made() -> None:
    large = Fold(0, 1 << 20, UNFOLDED_SIZE_MAX // 2)
    assert Folds((large, large), 0).unfolded_size == UNFOLDED_SIZE_MAX
    for streams, tail_size in (
        ((large, large), 1),
        ((Fold(-1, 10, 20),), 0),
        ((Fold(0, 10, 20),), -1),
        ((Fold(0, 1, 2),) * (STREAM_COUNT_MAX + 1), 0),
    ):
        with pytest.raises(ValueError, match=r"at most|inside the one before|behind the end"):
            Folds(streams, tail_size)
    with pytest.raises(ValueError, match="parameters for every stream"):
        Recipe(FOLDS, LEVELS[:1])
    with pytest.raises(ValueError, match="cannot be cut"):
        Recipe(FOLDS, LEVELS, -1, 0)


def test_bytes_of_another_size_neither_unfold_nor_fold() -> None:
    for wrong in (FOLDED[:-1], FOLDED + b"\0", b""):
        with pytest.raises(FormatError, match="bytes to unfold"):
            unfold(wrong, FOLDS)
    for wrong in (UNFOLDED[:-1], UNFOLDED + b"\0", b""):
        with pytest.raises(FormatError, match="bytes to fold"):
            fold(wrong, RECIPE)


@pytest.mark.parametrize("size_change", [-1, 1])
def test_a_stream_that_is_longer_or_shorter_than_promised_is_refused(size_change: int) -> None:
    """The sizes of the whole still add up: the byte goes to or comes from the tail."""
    first, second = FOLDS.streams
    longer = replace(second, folded_size=second.folded_size + size_change)
    with pytest.raises(FormatError):
        unfold(FOLDED, Folds((first, longer), FOLDS.tail_size - size_change))
    inflated = replace(second, unfolded_size=second.unfolded_size + size_change)
    folds = Folds((first, inflated), FOLDS.tail_size)
    with pytest.raises(FormatError, match="does not inflate"):
        unfold(FOLDED, folds)


def test_a_damaged_stream_is_refused() -> None:
    damaged = bytearray(FOLDED)
    damaged[4] |= 6  # no block is of type 3
    with pytest.raises(FormatError, match="damaged"):
        unfold(damaged, FOLDS)


def test_a_stream_that_deflates_to_another_size_is_refused() -> None:
    with pytest.raises(FormatError, match="do not deflate to"):
        fold(UNFOLDED, Recipe(FOLDS, (Parameters(1), Parameters(9))))
    noise = bytes(range(256)) * (len(ONE) // 256 + 1)
    with pytest.raises(FormatError, match="do not deflate to"):
        fold(b"head" + noise[: len(ONE)] + UNFOLDED[4 + len(ONE) :], RECIPE)


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    deflated = bomb(1 << 30)
    assert len(deflated) < 2 << 20
    folds = Folds((Fold(0, len(deflated), 1 << 20),), 0)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="does not inflate to the 1048576 promised"):
            unfold(deflated, folds)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_recipe_of_the_most_streams_is_parsed_and_one_more_is_not() -> None:
    most = Folds((Fold(0, 1, 2),) * STREAM_COUNT_MAX, 0)
    encoded = most.encode()
    assert parse_folds(encoded) == most
    count_size = len(encode_varints([STREAM_COUNT_MAX]))
    more = encode_varints([STREAM_COUNT_MAX + 1]) + encoded[count_size:] + bytes(3)
    with pytest.raises(FormatError, match="at most 65536"):
        parse_folds(more)
