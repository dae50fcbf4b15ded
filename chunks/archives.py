"""Unfold the deflate streams in some bytes, and fold them again (``docs/format/archives.md``).

One changed byte in a zip member changes nearly all of its deflated bytes, so a delta between two
archives finds nothing to copy. *Unfolded*, every stream is replaced by what it inflates to; the
delta is made between unfolded bytes, and its result is folded: deflated as it was before.

What zlib makes depends on its version. So a recipe is a proposal: whoever folds must check the
result against its chunk ids, and take the chunks themselves if it is another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from chunks.deflate import RATIO_MAX, Parameters, deflate, inflate
from chunks.varints import VarintReader, encode_varints
from kit.buffers import Buffer
from kit.errors import FormatError

FOLDED_SIZE_MAX = 64 << 20
UNFOLDED_SIZE_MAX = 64 << 20
"""Bytes on either side; what a console holds in memory while it makes one run of chunks."""

STREAM_COUNT_MAX = 65_536
"""A span of 24 MiB that holds nothing but zip members of 400 bytes has no more streams."""

PARAMETERS_COUNT_MAX = 256
"""Different parameters in one recipe: more than are ever guessed. An archive has one or two."""

_PARAMETERS_SIZE = 4


@dataclass(frozen=True, slots=True)
class Fold:
    """One deflate stream and the bytes before it; sizes in bytes.

    Attributes:
        gap_size: Bytes between the stream before and this one; they stay as they are.
        folded_size: Bytes the stream takes deflated.
        unfolded_size: Bytes it inflates to.
    """

    gap_size: int
    folded_size: int
    unfolded_size: int


@dataclass(frozen=True, slots=True)
class Folds:
    """Where the deflate streams of some bytes lie: all that unfolding needs.

    Attributes:
        streams: In order, apart.
        tail_size: Bytes behind the last one.

    Raises:
        ValueError: There are more or larger ones than a reader takes, or a size cannot be true.
    """

    streams: tuple[Fold, ...]
    tail_size: int

    def __post_init__(self) -> None:
        if len(self.streams) > STREAM_COUNT_MAX:
            raise ValueError(f"{len(self.streams)} streams; at most {STREAM_COUNT_MAX}")
        for stream in self.streams:
            if stream.gap_size < 0:
                raise ValueError(f"a stream {-stream.gap_size} bytes inside the one before")
            if not 0 < stream.unfolded_size <= RATIO_MAX * stream.folded_size:
                raise ValueError(
                    f"a stream of {stream.folded_size} bytes"
                    f" cannot inflate to {stream.unfolded_size}"
                )
        if self.tail_size < 0:
            raise ValueError("the last stream ends behind the end")
        if self.folded_size > FOLDED_SIZE_MAX or self.unfolded_size > UNFOLDED_SIZE_MAX:
            raise ValueError(
                f"{self.folded_size} bytes that unfold to {self.unfolded_size};"
                f" at most {FOLDED_SIZE_MAX} and {UNFOLDED_SIZE_MAX}"
            )

    @property
    def folded_size(self) -> int:
        """Bytes of the whole, streams deflated."""
        gap_sizes = sum(stream.gap_size for stream in self.streams)
        return gap_sizes + sum(stream.folded_size for stream in self.streams) + self.tail_size

    @property
    def unfolded_size(self) -> int:
        """Bytes of the whole, streams inflated."""
        gap_sizes = sum(stream.gap_size for stream in self.streams)
        return gap_sizes + sum(stream.unfolded_size for stream in self.streams) + self.tail_size

    def encode(self) -> bytes:
        """Return the folds as they are stored."""
        columns = (
            (stream.gap_size for stream in self.streams),
            (stream.folded_size for stream in self.streams),
            (stream.unfolded_size for stream in self.streams),
        )
        return encode_varints(chain((len(self.streams), self.tail_size), *columns))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to fold: the streams, what zlib is told for each, and which bytes of the whole to keep.

    Attributes:
        folds: The streams.
        parameters: One for each stream.
        head_cut_size: Bytes to drop from the front of what was folded; not 0 where the wanted
            bytes begin in the middle of a stream.
        tail_cut_size: Bytes to drop from its end.

    Raises:
        ValueError: A reader would not take it.
    """

    folds: Folds
    parameters: tuple[Parameters, ...]
    head_cut_size: int = 0
    tail_cut_size: int = 0

    def __post_init__(self) -> None:
        if len(self.parameters) != len(self.folds.streams):
            raise ValueError("a recipe needs parameters for every stream")
        if len(set(self.parameters)) > PARAMETERS_COUNT_MAX:
            raise ValueError(f"a recipe names at most {PARAMETERS_COUNT_MAX} parameters")
        if self.head_cut_size < 0 or self.tail_cut_size < 0 or self.size < 1:
            raise ValueError(
                f"{self.head_cut_size} and {self.tail_cut_size} bytes cannot be cut"
                f" from {self.folds.folded_size}"
            )

    @property
    def size(self) -> int:
        """Bytes that folding returns."""
        return self.folds.folded_size - self.head_cut_size - self.tail_cut_size

    def encode(self) -> bytes:
        """Return the recipe as it is stored."""
        distinct = tuple(dict.fromkeys(self.parameters))
        numbers = [self.head_cut_size, self.tail_cut_size, len(distinct)]
        for parameters in distinct:
            numbers += (
                parameters.level,
                parameters.window_bits,
                parameters.memory_level,
                parameters.strategy,
            )
        numbers += map(distinct.index, self.parameters)
        return self.folds.encode() + encode_varints(numbers)


def parse_folds(encoded: Buffer) -> Folds:
    """Read folds.

    Raises:
        FormatError: These bytes are none, or have bytes behind them.
    """
    reader = VarintReader("folds", encoded)
    folds = _take_folds(reader)
    reader.close()
    return folds


def parse_recipe(encoded: Buffer) -> Recipe:
    """Read a recipe.

    Raises:
        FormatError: These bytes are none, or have bytes behind them.
    """
    reader = VarintReader("recipe", encoded)
    folds = _take_folds(reader)
    head_cut_size, tail_cut_size, distinct_count = reader.take_column(3)
    if distinct_count > PARAMETERS_COUNT_MAX:
        raise FormatError(f"recipe: {distinct_count} parameters; at most {PARAMETERS_COUNT_MAX}")
    numbers = [reader.take_column(_PARAMETERS_SIZE) for _ in range(distinct_count)]
    indexes = reader.take_column(len(folds.streams))
    reader.close()
    if list(dict.fromkeys(indexes)) != list(range(distinct_count)):
        raise FormatError("recipe: parameters are not listed once each in order of first use")
    try:
        distinct = [Parameters(*four) for four in numbers]
        if len(set(distinct)) != len(distinct):
            raise FormatError("recipe: parameters are listed twice")
        parameters = tuple(distinct[index] for index in indexes)
        return Recipe(folds, parameters, head_cut_size, tail_cut_size)
    except ValueError as error:
        raise FormatError(f"recipe: {error}") from error


def unfold(folded: Buffer, folds: Folds) -> bytes:
    """Return ``folded`` with every stream replaced by what it inflates to. Mostly GIL-free.

    Raises:
        FormatError: It has another size than ``folds`` say, or something is no such stream.
    """
    if len(folded) != folds.folded_size:
        raise FormatError(f"{len(folded)} bytes to unfold; the folds are of {folds.folded_size}")
    view, at = memoryview(folded), 0
    parts: list[Buffer] = []
    for stream in folds.streams:
        start = at + stream.gap_size
        at_end = start + stream.folded_size
        parts.append(view[at:start])
        parts.append(inflate(view[start:at_end], stream.unfolded_size))
        at = at_end
    parts.append(view[at:])
    return b"".join(parts)


def fold(unfolded: Buffer, recipe: Recipe) -> bytes:
    """Return the bytes that ``recipe`` is for, *not yet verified*: another zlib makes others.

    Mostly GIL-free.

    Raises:
        FormatError: ``unfolded`` has another size than ``recipe`` says, or a stream deflates to
            another.
    """
    folds = recipe.folds
    if len(unfolded) != folds.unfolded_size:
        raise FormatError(f"{len(unfolded)} bytes to fold; the recipe is for {folds.unfolded_size}")
    view, at = memoryview(unfolded), 0
    folded = bytearray()
    for stream, parameters in zip(folds.streams, recipe.parameters, strict=True):
        start = at + stream.gap_size
        folded += view[at:start]
        at = start + stream.unfolded_size
        _append_deflated(folded, view[start:at], stream.folded_size, parameters)
    folded += view[at:]
    del folded[len(folded) - recipe.tail_cut_size :]
    del folded[: recipe.head_cut_size]
    return bytes(folded)


def _append_deflated(
    folded: bytearray, unfolded: memoryview, size: int, parameters: Parameters
) -> None:
    end = len(folded) + size
    for piece in deflate(unfolded, parameters):
        folded += piece
        if len(folded) > end:
            break
    if len(folded) != end:
        raise FormatError(f"{len(unfolded)} bytes do not deflate to the {size} promised")


def _take_folds(reader: VarintReader) -> Folds:
    stream_count, tail_size = reader.take_column(2)
    if stream_count > STREAM_COUNT_MAX:
        raise FormatError(f"folds: {stream_count} streams; at most {STREAM_COUNT_MAX}")
    columns: Sequence[list[int]] = [reader.take_column(stream_count) for _ in range(3)]
    try:
        return Folds(tuple(map(Fold, *columns)), tail_size)
    except ValueError as error:
        raise FormatError(f"folds: {error}") from error
