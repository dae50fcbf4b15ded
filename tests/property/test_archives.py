"""Whatever is concatenated, however it is cut: what was unfolded folds to the same bytes."""

from __future__ import annotations

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.archives import Recipe, fold, parse_folds, parse_recipe, unfold
from chunks.deflate_streams import find_streams
from chunks.unfolding import plan_unfolding
from kit.errors import FormatError
from tests.deflated import gzip_wrapped, raw_deflate, text, zip_of, zlib_wrapped

Parts = list[bytes]


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Draw a stream in one of its wrappers."""
    size, seed = draw(st.sampled_from([6000, 2000, 700, 50])), draw(st.integers(0, 30))
    plain = text(size, seed) + draw(st.binary(max_size=40))
    level = draw(st.sampled_from([6, 9, 1, 0, 2, 3, 4, 5, 7, 8]))
    window_bits = draw(st.sampled_from([15, 14, 13, 12, 9]))
    match draw(st.sampled_from(["zlib", "gzip", "zip", "any"])):
        case "zlib":
            return zlib_wrapped(plain, level, window_bits).data
        case "gzip":
            return gzip_wrapped(plain, level, draw(st.sampled_from(["", "name"]))).data
        case "zip":
            return zip_of({"a": plain, "b": plain[::-1]}, level, is_streamed=draw(st.booleans()))
        case _:
            strategy = draw(st.integers(zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED))
            memory_level = draw(st.integers(1, 9))
            return b"\x78\x9c" + raw_deflate(plain, level, window_bits, memory_level, strategy)


@st.composite
def cut_streams(draw: st.DrawFn) -> bytes:
    """Draw a part of a stream."""
    whole = draw(streams())
    start = draw(st.integers(0, len(whole)))
    return whole[start : draw(st.integers(start, len(whole)))]


HEADERS = st.sampled_from([b"\x78\x9c", b"PK\x03\x04", b"\x1f\x8b\x08"]).map(lambda it: it * 50)


def archives() -> st.SearchStrategy[Parts]:
    """Draw streams, whole and not, and bytes that are none, or look like one at first."""
    part = st.one_of(streams(), streams(), cut_streams(), HEADERS, st.binary(max_size=300))
    return st.lists(part, min_size=2, max_size=6)


@settings(max_examples=200, deadline=None)
@given(archives(), archives(), st.data())
def test_a_span_of_any_archive_folds_to_itself(old: Parts, new: Parts, data: st.DataObject) -> None:
    shared = [part for part in new if data.draw(st.integers(0, 3)) == 0]
    target, base = b"".join(new) + b"!!!!", b"".join([*old, *shared])
    start = data.draw(st.integers(0, len(target) // 2))
    end = data.draw(st.integers(start + 1 + len(target) // 4, len(target)))
    plan = plan_unfolding(target, start, end, base)
    if plan is None:
        return
    assert plan.start <= start < end <= plan.end
    unfolded = unfold(target[plan.start : plan.end], parse_folds(plan.recipe.folds.encode()))
    recipe = parse_recipe(plan.recipe.encode())
    assert recipe == plan.recipe
    assert fold(unfolded, recipe) == target[start:end]
    assert len(unfold(base, plan.base_folds)) == plan.base_folds.unfolded_size


@settings(max_examples=150, deadline=None)
@given(archives())
def test_found_streams_are_apart_in_order_and_as_told(pieces: Parts) -> None:
    data = b"".join(pieces)
    at = 0
    for stream in find_streams(data):
        assert at <= stream.start < stream.end <= len(data)
        at = stream.end
        inflated = zlib.decompress(data[stream.start : stream.end], -15)
        assert len(inflated) == stream.unfolded_size > stream.folded_size


def _recipe() -> tuple[bytes, bytes, Recipe]:
    target = b"head" + b"".join(
        zlib_wrapped(text(900, seed), level).data for seed, level in enumerate((1, 6, 6, 9))
    )
    plan = plan_unfolding(target, 0, len(target), b"")
    assert plan is not None
    return target, unfold(target, plan.recipe.folds), plan.recipe


TARGET, UNFOLDED, RECIPE = _recipe()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_recipe_is_refused_or_has_the_size_it_says(data: st.DataObject) -> None:
    encoded = bytearray(RECIPE.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(encoded) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                encoded[at] = data.draw(st.integers(0, 255))
            case 1:
                encoded[at:at] = data.draw(st.binary(min_size=1, max_size=2))
            case _ if len(encoded) > 1:
                del encoded[at]
            case _:
                pass
    try:
        recipe = parse_recipe(encoded)
        assert recipe.encode() == encoded  # one spelling
        assert len(fold(UNFOLDED, recipe)) == recipe.size
        assert len(unfold(TARGET, recipe.folds)) == recipe.folds.unfolded_size
    except FormatError:
        pass


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_recipe_in_its_one_spelling_or_refused(encoded: bytes) -> None:
    for parse in (parse_recipe, parse_folds):
        try:
            parsed = parse(encoded)
        except FormatError:
            continue
        assert parsed.encode() == encoded
