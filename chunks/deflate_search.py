"""Find out with which parameters zlib made a deflate stream, by deflating it again."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from chunks.deflate import PIECE_SIZE, Parameters, deflate
from kit.buffers import Buffer

SEARCH_SIZE_MAX = 8 << 20
"""Bytes deflated at most with parameters that never worked before: about a quarter of a second,
lost on a run of chunks whose streams some other program made. What did work is always tried."""

_KNOWN_COUNT_MAX = 4
"""Parameters remembered; one archive is hardly ever written with more."""


def _ordered_guesses() -> Iterator[tuple[int, int, int]]:
    """Yield (level, memory level, strategy): first what programs use, then what they could."""
    levels = (6, 9, 1, 5, 7, 8, 2, 3, 4)
    for memory_level in (8, 9):
        yield from ((level, memory_level, zlib.Z_DEFAULT_STRATEGY) for level in levels)
    for memory_level in (8, 9):  # images: filtering is what changes levels above 3
        yield from ((level, memory_level, zlib.Z_FILTERED) for level in (6, 9, 5, 7, 8, 4))
        yield from ((6, memory_level, strategy) for strategy in (zlib.Z_RLE, zlib.Z_HUFFMAN_ONLY))
    yield 6, 8, zlib.Z_FIXED


_GUESSES = tuple(_ordered_guesses())


class ParameterSearch:
    """Answers for one stream after another, and first asks what worked last.

    Not safe for use by several threads at once.
    """

    def __init__(self, hints: Iterable[Parameters] = ()) -> None:
        """Begin with ``hints``, the likeliest first: what worked for the stream's neighbours."""
        self._known = list(dict.fromkeys(hints))[:_KNOWN_COUNT_MAX]
        self._searched_size = 0

    @property
    def known(self) -> tuple[Parameters, ...]:
        """What worked, the last first: hints for the next search."""
        return tuple(self._known)

    def probe(
        self, unfolded: Buffer, deflated: Buffer, window_bits: int = zlib.MAX_WBITS
    ) -> Parameters | None:
        """Return parameters with which ``unfolded`` deflates to exactly ``deflated``, if any do."""
        for parameters in self._known:
            if self._reproduces(parameters, unfolded, deflated):
                return self._remember(parameters)
        for parameters in self._guesses(window_bits):
            if self._searched_size >= SEARCH_SIZE_MAX:
                break
            if self._reproduces(parameters, unfolded, deflated, is_searching=True):
                return self._remember(parameters)
        return None

    def _remember(self, parameters: Parameters) -> Parameters:
        if parameters in self._known:
            self._known.remove(parameters)
        self._known.insert(0, parameters)
        del self._known[_KNOWN_COUNT_MAX:]
        return parameters

    def _guesses(self, window_bits: int) -> Iterator[Parameters]:
        for bits in dict.fromkeys((window_bits, zlib.MAX_WBITS)):
            for level, memory_level, strategy in _GUESSES:
                parameters = Parameters(level, bits, memory_level, strategy)
                if parameters not in self._known:
                    yield parameters

    def _reproduces(
        self,
        parameters: Parameters,
        unfolded: Buffer,
        deflated: Buffer,
        *,
        is_searching: bool = False,
    ) -> bool:
        """Deflate until a byte differs."""
        view, at = memoryview(deflated), 0
        for piece in deflate(unfolded, parameters):
            if is_searching:
                self._searched_size += min(PIECE_SIZE, len(unfolded))
            if view[at : at + len(piece)].tobytes() != piece:
                return False
            at += len(piece)
        return at == len(view)
