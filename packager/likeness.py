"""Tell what two stretches of bytes have in common, in time that grows with their length alone.

What is compared are *grams*, eight bytes that follow each other, at every offset: so a shift does
not matter. One gram in sixteen is looked at, chosen by its content, so both sides choose alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manifests.model import U64

GRAM_SIZE = 8
_MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: multiplied by it, the top bits depend on all bits."""

RUN_MIN = 16
"""Grams that must agree on a shift: about 256 bytes. Tables of names and numbers hold shorter
stretches that occur elsewhere by chance."""

JOIN_SIZE = 8
"""Differences closer than this are one: the bytes of a changed number may agree in between."""


class Step(NamedTuple):
    """A place where the shift between two stretches changes."""

    is_filling: bool
    """Whether what was put in or taken out there is one byte repeated: padding."""
    is_backward: bool
    """Whether what follows stood before what came before it: another order."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """Chosen grams of a stretch that occur in it once, ascending, and where they stand."""

    grams: U64
    places: NDArray[np.int64]


def entropy_bits(data: bytes) -> float:
    """Return the entropy of the bytes' frequencies, in bits a byte: 8 for noise."""
    if not data:
        return 0.0
    counts = np.bincount(np.frombuffer(data, dtype=np.uint8), minlength=256)
    shares = counts[counts > 0] / len(data)
    return float(-(shares * np.log2(shares)).sum())


def likeness(old: bytes, new: bytes) -> float:
    """Return the share of ``new``, from 0 to 1, that ``old`` holds somewhere.

    Runs of one byte are left out: every file has some.
    """
    chosen = _chosen(new)[0]
    if not len(chosen):
        return 1.0 if new in old else 0.0
    return float(np.isin(chosen, _chosen(old)[0]).mean())


def alternations(old: bytes, new: bytes) -> int:
    """Return how often ``new`` passes from bytes that ``old`` holds to others, or back.

    Text put before other text does once or twice; a table whose numbers changed, in every line.
    """
    is_known = np.isin(_chosen(new)[0], _chosen(old)[0])
    return int(np.count_nonzero(is_known[1:] != is_known[:-1]))


def differences(old: bytes, new: bytes) -> list[tuple[int, int]]:
    """Return the spans ``[start, end)`` in which two stretches of equal length differ."""
    assert len(old) == len(new)
    unequal = np.frombuffer(old, np.uint8) != np.frombuffer(new, np.uint8)
    places = np.flatnonzero(unequal)
    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) > JOIN_SIZE)
    starts = places[np.concatenate(([0], breaks + 1))]
    ends = places[np.concatenate((breaks, [len(places) - 1]))] + 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def sketch(data: bytes) -> Sketch:
    """Return the sketch of a stretch."""
    chosen, places = _chosen(data)
    grams, firsts, counts = np.unique(chosen, return_index=True, return_counts=True)
    return Sketch(grams[counts == 1], places[firsts[counts == 1]])


def steps(old: bytes, new: bytes) -> list[Step]:
    """Return the places where the shift between two stretches changes, in order."""
    runs = _runs(sketch(old), sketch(new))
    return [
        Step(_is_filling(old, new, before, after), after.old_start < before.old_start)
        for before, after in pairwise(runs)
    ]


class _Run(NamedTuple):
    """Grams at one shift: where the first and the last of them stand."""

    old_start: int
    new_start: int
    old_last: int
    new_last: int


def _runs(old: Sketch, new: Sketch) -> list[_Run]:
    _, of_old, of_new = np.intersect1d(
        old.grams, new.grams, assume_unique=True, return_indices=True
    )
    order = np.argsort(new.places[of_new])
    new_places, old_places = new.places[of_new][order], old.places[of_old][order]
    if not len(new_places):
        return []
    breaks = np.flatnonzero(np.diff(new_places - old_places)) + 1
    firsts = np.concatenate(([0], breaks))
    lasts = np.concatenate((breaks, [len(new_places)])) - 1
    is_run = lasts - firsts + 1 >= RUN_MIN
    columns = (old_places[firsts], new_places[firsts], old_places[lasts], new_places[lasts])
    found = np.stack(columns, axis=1)[is_run].tolist()
    joined: list[_Run] = []
    for run in map(_Run._make, found):
        if joined and joined[-1].new_last - joined[-1].old_last == run.new_start - run.old_start:
            joined[-1] = joined[-1]._replace(old_last=run.old_last, new_last=run.new_last)
        else:
            joined.append(run)
    return joined


def _is_filling(old: bytes, new: bytes, before: _Run, after: _Run) -> bool:
    """Tell whether two runs touch but for repetitions of one byte."""
    old_gap = old[before.old_last : after.old_start + GRAM_SIZE]
    new_gap = new[before.new_last : after.new_start + GRAM_SIZE]
    if after.old_start < before.old_last:
        return False
    shorter = min(len(old_gap), len(new_gap))
    head = _common(old_gap[:shorter], new_gap[:shorter])
    tail = _common(old_gap[::-1][: shorter - head], new_gap[::-1][: shorter - head])
    rests = (old_gap[head : len(old_gap) - tail], new_gap[head : len(new_gap) - tail])
    return all(len(set(rest)) <= 1 for rest in rests)


def _common(one: bytes, other: bytes) -> int:
    """Return how many bytes two stretches of equal length begin alike with."""
    unequal = np.flatnonzero(np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8))
    return int(unequal[0]) if len(unequal) else len(one)


def _chosen(data: bytes) -> tuple[U64, NDArray[np.int64]]:
    """Return the chosen grams of ``data`` in order, and their offsets."""
    count = len(data) - GRAM_SIZE + 1
    if count <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    grams = np.ndarray((count,), dtype="<u8", buffer=data, strides=(1,))
    is_chosen = (grams * _MIX) >> np.uint64(60) == 0
    places = np.flatnonzero(is_chosen)
    chosen = grams[places]
    is_run = chosen == (chosen << np.uint64(8) | chosen >> np.uint64(56))
    return chosen[~is_run], places[~is_run]
