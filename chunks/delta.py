"""Make a run of chunks from old bytes: a delta, applied without trusting a word it says of itself.

A delta turns ``base``, the plain bytes of some old chunks end to end, into ``target``, the plain
bytes of some new ones. Methods (``docs/format/deltas.md``) for different kinds of likeness:

* ``HDIFF`` finds bytes that moved *and* changed a little everywhere, as when a program is built
  again and its addresses shift.
* ``RELINKED`` does the same and foresees how the addresses in a program shift (``relinked.py``):
  it takes half as much.
* ``BSDIFF`` does the same by another search; it is slow and sometimes better on small windows.
* ``ZSTD`` finds exact repeats of the base, a few bytes long or more. It is the quick one.
* ``LZMA`` needs no base: bytes that are truly new, packed harder than a push has time for.
* ``UNFOLDED`` is one of the others between bytes whose deflate streams were inflated first
  (``unfolding.py``): what changed in an archive is small only there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from itertools import chain

import bsdiff4.core
import numpy as np
from backports import zstd

from chunks.archives import fold, parse_folds, parse_recipe, unfold
from chunks.covers import covers_of_hdiff
from chunks.packing import packed, unpacked
from chunks.relinked import apply_relinked, encode_relinked
from chunks.unfolding import plan_unfolding
from kit.buffers import Buffer
from kit.errors import FormatError

TARGET_SIZE_MAX = 16 << 20
"""Plain bytes that one delta makes. What is packed together is packed better: a recompiled engine
takes 4 % less than with 8 MiB, and only 1 % more than with 32."""

BASE_SIZE_MAX = 24 << 20
"""Plain bytes of a base. A console holds it, what the delta opens to, and what it makes: 56 MiB."""

DELTA_SIZE_MAX = 8 << 20
"""Of a payload. What takes more, of bytes this new, is as well fetched as plain chunks."""

FLAT_TARGET_SIZE_MAX = 8 << 20
FLAT_BASE_SIZE_MAX = 12 << 20
"""The same of unfolded bytes, which are held besides."""

RECIPES_SIZE_MAX = 2 << 20
"""Of folds and recipe together: 65,536 streams of each take no more."""

SMALL_TARGET_SIZE = 1 << 20
"""Up to here the slow search is tried too: it takes a second for 4 MiB, hdiff a quarter of one."""

WINDOW_LOG_MAX = 26
"""64 MiB: base and target fit."""

assert BASE_SIZE_MAX + TARGET_SIZE_MAX <= 1 << WINDOW_LOG_MAX

QUICK_LEVEL = 3
BEST_LEVEL = 19

_PACKED_SIZE = struct.Struct("<I")
_BSDIFF_SIZES = struct.Struct("<III")
_UNFOLDED_HEADER = struct.Struct("<BIII")
_HDIFF_MAGIC = b"HDIFF13&\0"
"""The name of the compressor stands between ``&`` and zero: ours is empty, so none may run."""
_HDIFF_NUMBERS = 11
"""Sizes of target and base, how many covers, and of four parts the plain and the packed size."""
_STEP = struct.Struct("<QQQ")


class Method(IntEnum):
    """How a delta makes its target; the numbers are the format's."""

    ZSTD = 0
    HDIFF = 1
    BSDIFF = 2
    LZMA = 3
    UNFOLDED = 4
    RELINKED = 5


class Effort(Enum):
    """How long may be searched for the smallest delta."""

    QUICK = auto()
    """Repeats only: some 200 MB/s, and five times the size on programs."""
    BEST = auto()


@dataclass(frozen=True, slots=True)
class Delta:
    """A method and the bytes it works by, and how long was searched for them."""

    method: Method
    payload: bytes
    effort: Effort


def make_delta(
    target: Buffer, base: Buffer, effort: Effort, *, before: Buffer = b"", after: Buffer = b""
) -> Delta:
    """Return the smallest delta found that makes ``target`` of ``base``, which may be empty.

    ``before`` and ``after`` are the bytes around the target, as many as are at hand: a deflate
    stream that it has only a part of can be looked into if the rest is there.

    Takes memory for some eight times the base while it searches. Mostly releases the GIL.
    """
    assert 0 < len(target) <= TARGET_SIZE_MAX
    assert len(base) <= BASE_SIZE_MAX
    candidates = chain(
        _candidates(bytes(target), bytes(base), effort),
        _unfolded(bytes(before), bytes(target), bytes(after), bytes(base), effort),
    )
    method, payload = min(candidates, key=lambda candidate: len(candidate[1]))
    return Delta(method, payload, effort)


def apply_delta(method: Method, payload: Buffer, base: Buffer, size: int) -> Buffer:
    """Return the ``size`` bytes a delta makes of ``base``, *not yet verified* against chunk ids.

    What the delta declares is checked before it is believed: memory stays within ``size`` and a
    little more, whatever the payload holds.

    Raises:
        FormatError: It is damaged, or is for another base or another size.
    """
    if not 0 < size <= TARGET_SIZE_MAX or len(base) > BASE_SIZE_MAX:
        raise FormatError(f"a delta of {len(base)} to {size} bytes is beyond the limits")
    made = _APPLY[method](bytes(payload), bytes(base), size)
    if len(made) != size:
        raise FormatError(f"a delta made {len(made)} bytes instead of {size}")
    return made


def repeats_of(target: Buffer, base: Buffer) -> bytes:
    """Return the smallest payload found of method ``ZSTD``: for what is no program's bytes."""
    return _zstd(bytes(target), bytes(base), BEST_LEVEL)


def _candidates(target: bytes, base: bytes, effort: Effort) -> Iterator[tuple[Method, bytes]]:
    if effort is Effort.QUICK:
        yield Method.ZSTD, _zstd(target, base, QUICK_LEVEL)
        return
    if base:
        method, difference = _searched(target, base)
        yield method, difference
        if len(target) <= SMALL_TARGET_SIZE:
            yield Method.BSDIFF, _bsdiff(target, base)
        if len(difference) * 2 < len(target):
            return  # no list of exact repeats would be shorter
    else:
        yield Method.LZMA, packed(target)
    yield Method.ZSTD, _zstd(target, base, BEST_LEVEL)


def _unfolded(
    before: bytes, target: bytes, after: bytes, base: bytes, effort: Effort
) -> Iterator[tuple[Method, bytes]]:
    """Yield the same delta between unfolded bytes, if there is something to unfold."""
    if effort is Effort.QUICK or not base:
        return
    start = len(before)
    around = b"".join((before, target, after))
    plan = plan_unfolding(around, start, start + len(target), base)
    if plan is None or plan.base_folds.unfolded_size > FLAT_BASE_SIZE_MAX:
        return
    if not 0 < plan.recipe.folds.unfolded_size <= FLAT_TARGET_SIZE_MAX:
        return
    flat_target = unfold(around[plan.start : plan.end], plan.recipe.folds)
    flat_base = unfold(base, plan.base_folds)
    method, payload = min(
        _candidates(flat_target, flat_base, effort), key=lambda candidate: len(candidate[1])
    )
    folds, recipe = plan.base_folds.encode(), plan.recipe.encode()
    recipes = packed(folds + recipe)
    sizes = _UNFOLDED_HEADER.pack(method, len(folds), len(recipe), len(recipes))
    yield Method.UNFOLDED, b"".join((sizes, recipes, payload))


def _from_unfolded(payload: bytes, base: bytes, size: int) -> bytes:
    if len(payload) < _UNFOLDED_HEADER.size:
        raise FormatError("a delta is too short")
    inner, folds_size, recipe_size, packed_size = _UNFOLDED_HEADER.unpack_from(payload)
    if inner not in _APPLY or inner == Method.UNFOLDED:
        raise FormatError(f"a delta has method {inner} within")
    if folds_size + recipe_size > RECIPES_SIZE_MAX:
        raise FormatError(f"a delta has recipes of {folds_size + recipe_size} bytes")
    packed_end = _UNFOLDED_HEADER.size + packed_size
    recipes = unpacked(payload[_UNFOLDED_HEADER.size : packed_end], folds_size + recipe_size)
    folds, recipe = parse_folds(recipes[:folds_size]), parse_recipe(recipes[folds_size:])
    if (
        folds.unfolded_size > FLAT_BASE_SIZE_MAX
        or recipe.folds.unfolded_size > FLAT_TARGET_SIZE_MAX
    ):
        raise FormatError("a delta unfolds to more than one may take or make")
    if recipe.size != size:
        raise FormatError(f"a delta folds to {recipe.size} bytes instead of {size}")
    flat = apply_delta(
        Method(inner), payload[packed_end:], unfold(base, folds), recipe.folds.unfolded_size
    )
    return fold(flat, recipe)


def _zstd(target: bytes, base: bytes, level: int) -> bytes:
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.window_log: WINDOW_LOG_MAX,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
        zstd.CompressionParameter.checksum_flag: 0,
    }
    return zstd.compress(target, options=options, zstd_dict=_prefix(base))


def _from_zstd(payload: bytes, base: bytes, size: int) -> bytes:
    try:
        declared = zstd.get_frame_info(payload).decompressed_size
        if declared != size:
            raise FormatError(f"a delta declares {declared} bytes instead of {size}")
        limits: dict[int, int] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
        decoder = zstd.ZstdDecompressor(zstd_dict=_prefix(base), options=limits)
        made = decoder.decompress(payload, max_length=size)
    except zstd.ZstdError as error:
        raise FormatError(f"a delta is damaged: {error}") from error
    if not decoder.eof or decoder.unused_data:
        raise FormatError("a delta does not end where its frame ends")
    return made


def _prefix(base: bytes) -> tuple[zstd.ZstdDict, int] | None:
    # The library takes no prefix of less than eight bytes; it would be of no use.
    return zstd.ZstdDict(base, is_raw=True).as_prefix if len(base) >= 8 else None


def _searched(target: bytes, base: bytes) -> tuple[Method, bytes]:
    """Return what a search for changed copies finds, with addresses foreseen if that is shorter."""
    import hdiffpatch  # noqa: PLC0415 - as below

    plain = hdiffpatch.diff(base, target, None, validate=False)
    covers = covers_of_hdiff(plain)
    relinked = encode_relinked(
        np.frombuffer(target, np.uint8), np.frombuffer(base, np.uint8), covers
    )
    if relinked is not None and len(relinked) * 10 < len(plain) * 9:
        return Method.RELINKED, _framed(relinked)
    return Method.HDIFF, _framed(plain)


def _from_relinked(payload: bytes, base: bytes, size: int) -> Buffer:
    return apply_relinked(_unframed(payload, size), base, size)


def _from_hdiff(payload: bytes, base: bytes, size: int) -> bytes:
    plain = _unframed(payload, size)
    if not plain.startswith(_HDIFF_MAGIC):
        raise FormatError("a delta is no plain HDIFF13")
    _check_hdiff(plain, len(base), size)
    # Here, not above: a console that starts needs none of what this loads.
    import hdiffpatch  # noqa: PLC0415

    try:
        return hdiffpatch.apply(base, plain)
    except (hdiffpatch.HDiffPatchError, ValueError) as error:
        raise FormatError(f"a delta is damaged: {error}") from error


def _check_hdiff(plain: bytes, base_size: int, size: int) -> None:
    """Refuse a header that the library should not be shown: it takes some numbers as they come."""
    numbers: list[int] = []
    at = len(_HDIFF_MAGIC)
    for _ in range(_HDIFF_NUMBERS):
        number, at = _varint(plain, at)
        numbers.append(number)
    made_size, needed_size, _, *parts = numbers
    if (made_size, needed_size) != (size, base_size):
        raise FormatError(f"a delta is of {needed_size} to {made_size} bytes, not for this base")
    if any(parts[1::2]):
        raise FormatError("a delta is compressed inside")
    if at + sum(parts) != len(plain):
        raise FormatError("a delta's parts do not add up")


def _bsdiff(target: bytes, base: bytes) -> bytes:
    control, difference, extra = bsdiff4.core.diff(base, target)
    sizes = _BSDIFF_SIZES.pack(len(control), len(difference), len(extra))
    return _framed(b"".join((sizes, control, difference, extra)))


def _from_bsdiff(payload: bytes, base: bytes, size: int) -> bytes:
    plain = _unframed(payload, size)
    if len(plain) < _BSDIFF_SIZES.size:
        raise FormatError("a delta is too short")
    control_size, difference_size, extra_size = _BSDIFF_SIZES.unpack_from(plain)
    if _BSDIFF_SIZES.size + control_size + difference_size + extra_size != len(plain):
        raise FormatError("a delta's parts do not add up")
    if difference_size + extra_size != size or control_size % 24:
        raise FormatError(f"a delta makes {difference_size + extra_size} bytes instead of {size}")
    control_end = _BSDIFF_SIZES.size + control_size
    control = plain[_BSDIFF_SIZES.size : control_end]
    parts_end = control_end + difference_size
    difference = plain[control_end:parts_end]
    _check_control(control, len(base), difference_size, extra_size)
    try:
        made: bytes = bsdiff4.core.patch(base, size, control, difference, plain[parts_end:])
    except (ValueError, OverflowError) as error:
        raise FormatError(f"a delta is damaged: {error}") from error
    return made


def _check_control(control: bytes, base_size: int, difference_size: int, extra_size: int) -> None:
    """Refuse steps that reach out of the base or out of their own parts."""
    at = taken = inserted = 0
    for step in _STEP.iter_unpack(control):  # one by one: there may be 700,000
        added, fresh, skip = map(_signed, step)
        if added < 0 or fresh < 0 or not 0 <= at <= at + added <= base_size:
            raise FormatError("a delta reaches out of its base")
        taken, inserted, at = taken + added, inserted + fresh, at + added + skip
    if (taken, inserted) != (difference_size, extra_size):
        raise FormatError("a delta's steps do not add up")


def _signed(raw: int) -> int:
    """Return a number of bsdiff's: sign and magnitude, the sign in the highest bit."""
    return -(raw & (1 << 63) - 1) if raw >> 63 else raw


def _from_lzma(payload: bytes, base: bytes, size: int) -> bytes:
    if base:
        raise FormatError("a delta that needs no base names one")
    return unpacked(payload, size)


def _framed(plain: bytes) -> bytes:
    return _PACKED_SIZE.pack(len(plain)) + packed(plain)


def _unframed(payload: bytes, size: int) -> bytes:
    """Open a packed difference; one longer than what it makes, twice over, is none of ours."""
    if len(payload) < _PACKED_SIZE.size:
        raise FormatError("a delta is too short")
    (plain_size,) = _PACKED_SIZE.unpack_from(payload)
    if plain_size > 2 * size + 4096:
        raise FormatError(f"a delta opens to {plain_size} bytes to make {size}")
    return unpacked(payload[_PACKED_SIZE.size :], plain_size)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read one number of HDIFF13, seven bits a byte, the highest first; also where it ends."""
    value = 0
    for index in range(at, min(at + 9, len(data))):
        value = value << 7 | data[index] & 0x7F
        if data[index] < 0x80:
            return value, index + 1
    raise FormatError("a delta's header is cut off")


_APPLY: dict[Method, Callable[[bytes, bytes, int], Buffer]] = {
    Method.ZSTD: _from_zstd,
    Method.HDIFF: _from_hdiff,
    Method.BSDIFF: _from_bsdiff,
    Method.LZMA: _from_lzma,
    Method.UNFOLDED: _from_unfolded,
    Method.RELINKED: _from_relinked,
}
