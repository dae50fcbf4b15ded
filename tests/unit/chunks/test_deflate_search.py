"""Finding out what zlib was told, without deflating more than needed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chunks.deflate import Parameters, deflate, inflate
from chunks.deflate_search import SEARCH_SIZE_MAX, ParameterSearch
from kit.errors import FormatError
from tests.deflated import bomb, raw_deflate, text

PLAIN = text(300_000)


def made(plain: bytes, parameters: Parameters) -> bytes:
    return b"".join(deflate(plain, parameters))


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """List what zlib is told each time it is asked to deflate."""
    listed: list[tuple[int, ...]] = []
    deflater: Callable[..., Any] = zlib.compressobj

    def note(*told: int) -> Any:
        listed.append(told)
        return deflater(*told)

    monkeypatch.setattr(zlib, "compressobj", note)
    yield listed


@pytest.mark.parametrize("level", range(1, 10))
@pytest.mark.parametrize("memory_level", [8, 9])
def test_a_level_is_found(level: int, memory_level: int) -> None:
    deflated = raw_deflate(PLAIN, level, memory_level=memory_level)
    parameters = ParameterSearch().probe(PLAIN, deflated)
    assert parameters is not None
    assert made(PLAIN, parameters) == deflated


@pytest.mark.parametrize(
    "strategy", [zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED]
)
def test_a_strategy_is_found(strategy: int) -> None:
    deflated = raw_deflate(PLAIN, strategy=strategy)
    parameters = ParameterSearch().probe(PLAIN, deflated)
    assert parameters is not None
    assert parameters.strategy != zlib.Z_DEFAULT_STRATEGY
    assert made(PLAIN, parameters) == deflated


def test_a_smaller_window_is_found_if_the_header_tells() -> None:
    deflated = raw_deflate(PLAIN, 9, window_bits=13)
    assert ParameterSearch().probe(PLAIN, deflated) is None
    parameters = ParameterSearch().probe(PLAIN, deflated, 13)
    assert parameters is not None
    assert parameters.window_bits == 13
    assert made(PLAIN, parameters) == deflated


def test_the_window_that_a_header_tells_wrongly_is_overruled() -> None:
    assert ParameterSearch().probe(PLAIN, raw_deflate(PLAIN), 13) == Parameters()


def test_what_worked_last_is_asked_first(tries: list[tuple[int, ...]]) -> None:
    deflated = raw_deflate(PLAIN, 4)
    first = ParameterSearch()
    assert first.probe(PLAIN, deflated) == Parameters(4)
    assert first.known == (Parameters(4),)
    tries.clear()
    assert first.probe(PLAIN, deflated) == Parameters(4)
    assert len(tries) == 1
    assert ParameterSearch(first.known).probe(PLAIN, deflated) == Parameters(4)
    assert len(tries) == 2


def test_a_stream_that_differs_late_is_not_taken() -> None:
    deflated = raw_deflate(PLAIN)
    assert ParameterSearch().probe(PLAIN[:-1] + b"?", deflated) is None
    assert ParameterSearch().probe(PLAIN, deflated + b"\0") is None
    assert ParameterSearch().probe(PLAIN, deflated[:-1]) is None


def test_a_stream_flushed_in_its_middle_is_left_alone() -> None:
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
    flushed = deflater.compress(PLAIN[:1000]) + deflater.flush(zlib.Z_SYNC_FLUSH)
    flushed += deflater.compress(PLAIN[1000:]) + deflater.flush()
    assert ParameterSearch().probe(PLAIN, flushed) is None


def test_searching_ends_but_what_is_known_is_still_asked(tries: list[tuple[int, ...]]) -> None:
    """No zlib makes these: what they should deflate to was changed at its front."""
    search = ParameterSearch([Parameters(3)])
    foreign = bytes(100) + raw_deflate(PLAIN)
    for _ in range(SEARCH_SIZE_MAX // (10 * 65_536)):
        assert search.probe(PLAIN, foreign) is None
    tries.clear()
    assert search.probe(PLAIN, foreign) is None
    assert [level for level, *_ in tries] == [3]
    assert search.probe(PLAIN, raw_deflate(PLAIN, 3)) == Parameters(3)
    assert search.probe(PLAIN, raw_deflate(PLAIN, 6)) is None


@pytest.mark.parametrize(
    "numbers", [(0, 15, 8, 0), (10, 15, 8, 0), (6, 8, 8, 0), (6, 16, 8, 0), (6, 15, 0, 0)]
)
def test_parameters_that_zlib_does_not_take_are_none(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="zlib does not deflate with"):
        Parameters(*numbers)


def test_inflating_takes_exactly_what_was_promised() -> None:
    deflated = raw_deflate(PLAIN)
    assert inflate(deflated, len(PLAIN)) == PLAIN
    for wrong, size, message in (
        (deflated, len(PLAIN) - 1, "does not inflate to"),
        (deflated, len(PLAIN) + 1, "does not inflate to"),
        (deflated[:-1], len(PLAIN), "does not inflate to"),
        (deflated + b"\0", len(PLAIN), "ends 1 bytes before"),
        (b"\xff" + deflated, len(PLAIN), "damaged"),
        (b"", 1, "does not inflate to"),
        (bomb(1 << 27), 1000, "does not inflate to"),
    ):
        with pytest.raises(FormatError, match=message):
            inflate(wrong, size)
