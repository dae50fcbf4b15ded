"""Deltas: every method makes its target, and no payload whatever does harm."""

from __future__ import annotations

import lzma
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks import delta
from chunks.delta import (
    BASE_SIZE_MAX,
    TARGET_SIZE_MAX,
    Delta,
    Effort,
    Method,
    apply_delta,
    make_delta,
)
from kit.errors import FormatError
from tests.deltas import (
    HDIFF_MAGIC,
    Step,
    behind_sizes,
    bsdiff_of,
    framed,
    hdiff_of,
    likeness,
    lzma2_of,
    number,
)

BASE, TARGET = likeness(1, 6000)
DICTIONARY_SIZE = 8 << 20
"""What whoever unpacks LZMA2 sets aside before the first byte."""
FILTERS = [{"id": lzma.FILTER_LZMA2, "dict_size": DICTIONARY_SIZE, "lc": 3, "lp": 0, "pb": 0}]


def zstd_of(target: bytes, base: bytes = b"", *, window_log: int = 20, sized: bool = True) -> bytes:
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: window_log,
        zstd.CompressionParameter.content_size_flag: int(sized),
    }
    prefix = zstd.ZstdDict(base, is_raw=True).as_prefix if base else None
    if sized:
        return zstd.compress(target, options=options, zstd_dict=prefix)
    compressor = zstd.ZstdCompressor(options=options, zstd_dict=prefix)
    return compressor.compress(target) + compressor.flush()


STEPS: list[Step] = [(4000, 100, -2000), (1000, 900, 0)]
"""Two steps of bsdiff that fit :data:`BASE` and make as many bytes as there are in it."""

WORDS = b"".join(b"a line of words, number %d\n" % n for n in range(150))
OTHER_WORDS = WORDS.replace(b"number 7", b"number seven")


def deflated(plain: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, 8)
    return packer.compress(plain) + packer.flush()


def varints(*numbers: int) -> bytes:
    raw = bytearray()
    for number_ in numbers:
        left = number_
        while left > 0x7F:
            raw.append(left & 0x7F | 0x80)
            left >>= 7
        raw.append(left)
    return bytes(raw)


def unfolded_of(base_words: bytes, words: bytes) -> tuple[bytes, bytes, bytes]:
    """Payload, base and target: a deflate stream between three bytes and two, on both sides."""
    base, target = (b"<<<" + deflated(text) + b">>" for text in (base_words, words))
    folds = varints(1, 2, 3, len(base) - 5, len(base_words))
    recipe = varints(1, 2, 3, len(target) - 5, len(words), 0, 0, 1, 6, 15, 8, 0, 0)
    inner = framed(hdiff_of(b"<<<" + base_words + b">>", b"<<<" + words + b">>"))
    packed = lzma2_of(folds + recipe)
    sizes = struct.pack("<BIII", Method.HDIFF, len(folds), len(recipe), len(packed))
    return sizes + packed + inner, base, target


def relinked_plain() -> tuple[bytes, bytes, bytes]:
    """Seven new bytes before a call, whose callee moved by twelve; the last byte one more."""
    base = b"a" * 40 + b"\xe8" + struct.pack("<i", 10) + b"b" * 20
    target = b"fresh.." + base[:41] + struct.pack("<i", 10 + 12 - 7) + b"b" * 19 + b"c"
    address = (7 + 41) + 4 - 7 + 10
    numbers = varints(
        *(7, len(base), 2 * 7 - 1),  # a cover
        *(7, len(base), 0, 0),  # a section of code
        *(1, 2 * address, 2, 2 * 12),  # a table
        *(len(target) - 1, 1),  # a run
    )
    header = struct.pack("<7I", 1, 1, 1, 1, 1, len(numbers), 1)
    return header + numbers + b"\1" + b"fresh..", base, target


RELINKED, RELINKED_BASE, RELINKED_TARGET = relinked_plain()
SOUND = {
    Method.ZSTD: (zstd_of(TARGET, BASE), BASE, TARGET),
    Method.HDIFF: (framed(hdiff_of(BASE, TARGET)), BASE, TARGET),
    Method.BSDIFF: (
        framed(bsdiff_of(STEPS, bytes(5000), bytes(1000))),
        BASE,
        BASE[:4000] + bytes(100) + BASE[2000:3000] + bytes(900),
    ),
    Method.LZMA: (lzma2_of(TARGET), b"", TARGET),
    Method.UNFOLDED: unfolded_of(WORDS, OTHER_WORDS),
    Method.RELINKED: (framed(RELINKED), RELINKED_BASE, RELINKED_TARGET),
}
"""By method: payload, base and target, none of them written by the code under test."""


@pytest.mark.parametrize("method", Method)
def test_a_payload_written_by_the_specification_makes_its_target(method: Method) -> None:
    payload, base, target = SOUND[method]
    assert apply_delta(method, payload, base, len(target)) == target


@pytest.mark.parametrize("size", [1, 7, 8, 100, 70_000, 1_300_000])
@pytest.mark.parametrize("effort", Effort)
def test_what_was_made_makes_the_target_again(size: int, effort: Effort) -> None:
    base, target = likeness(size, size)
    found = make_delta(target, base, effort)
    assert apply_delta(found.method, found.payload, base, len(target)) == target
    assert found.effort is effort


def test_the_best_delta_of_shifted_numbers_is_a_fraction_of_the_quick_one() -> None:
    base, target = likeness(3, 300_000)
    quick, best = (make_delta(target, base, effort) for effort in (Effort.QUICK, Effort.BEST))
    assert quick.method is Method.ZSTD
    assert best.method in {Method.HDIFF, Method.BSDIFF, Method.RELINKED}
    assert len(best.payload) * 2 < len(quick.payload)


def test_without_a_base_words_are_packed_and_nothing_is_searched() -> None:
    chance = random.Random(2)
    text = b"".join(b"line %d, said by %d\n" % (n, chance.randrange(99)) for n in range(20_000))
    found = make_delta(text, b"", Effort.BEST)
    assert found.method is Method.LZMA
    assert apply_delta(Method.LZMA, found.payload, b"", len(text)) == text


def test_the_same_bytes_make_the_same_delta() -> None:
    base, target = likeness(5, 200_000)
    assert make_delta(target, base, Effort.BEST) == make_delta(target, base, Effort.BEST)


@pytest.mark.parametrize(
    ("size", "base_size"),
    [(0, 10), (-1, 10), (TARGET_SIZE_MAX + 1, 10), (10, BASE_SIZE_MAX + 1)],
)
@pytest.mark.parametrize("method", Method)
def test_sizes_beyond_the_limits_are_refused_unopened(
    method: Method, size: int, base_size: int
) -> None:
    with pytest.raises(FormatError, match="beyond the limits"):
        apply_delta(method, SOUND[method][0], bytes(base_size), size)


ZSTD_BROKEN = {
    "nothing": b"",
    "another size": zstd_of(TARGET[:-1], BASE),
    "no size": zstd_of(TARGET, BASE, sized=False),
    "a frame behind": zstd_of(TARGET, BASE) + zstd_of(TARGET),
    "a byte behind": zstd_of(TARGET, BASE) + b"\0",
    "a skippable frame": b"\x50\x2a\x4d\x18\4\0\0\0abcd",
    "a window of 64 MiB": b"\x28\xb5\x2f\xfd\x80\x80" + struct.pack("<I", len(TARGET)) + b"\1\0\0",
    "a dictionary by name": b"\x28\xb5\x2f\xfd\x61\x07" + struct.pack("<H", len(TARGET) - 256)
    + b"\1\0\0",
    "no bytes though it says some": b"\x28\xb5\x2f\xfd\x60" + struct.pack("<H", len(TARGET) - 256)
    + b"\1\0\0",
}  # fmt: skip


@pytest.mark.parametrize("payload", ZSTD_BROKEN.values(), ids=ZSTD_BROKEN.keys())
def test_every_broken_rule_of_zstd_is_refused(payload: bytes) -> None:
    with pytest.raises(FormatError):
        apply_delta(Method.ZSTD, payload, BASE, len(TARGET))


SOME = hdiff_of(BASE, TARGET)
REST = SOME[behind_sizes(SOME) :]


def hdiff_saying(target_size: int, base_size: int) -> bytes:
    return HDIFF_MAGIC + number(target_size) + number(base_size) + REST


HDIFF_BROKEN = {
    "nothing": b"",
    "no plain size": b"\1\0",
    "nothing inside": framed(b""),
    "cut in the magic number": framed(SOME[:5]),
    "cut in the sizes": framed(SOME[:10]),
    "another magic number": framed(b"HDIFF14&\0" + SOME[9:]),
    "a compressor": framed(b"HDIFF13&zlib\0" + SOME[9:]),
    "a checksum": framed(b"HDIFF13&&crc32\0" + SOME[9:]),
    "a size that never ends": framed(HDIFF_MAGIC + b"\xff" * 100),
    "another target size": framed(hdiff_saying(len(TARGET) + 1, len(BASE))),
    "a huge target size": framed(hdiff_saying(1 << 62, len(BASE))),
    "another base size": framed(hdiff_saying(len(TARGET), len(BASE) - 1)),
    "a huge base size": framed(hdiff_saying(len(TARGET), 1 << 62)),
    "bytes behind": framed(SOME + b"more"),
    "bytes behind the stream": framed(SOME) + b"\0",
    "a plain size too small": framed(SOME, says=len(SOME) - 1),
    "a plain size too large": framed(SOME, says=len(SOME) + 1),
    "a stream that does not end": framed(SOME)[:-1],
    "another format": framed(bsdiff_of(STEPS, bytes(5000), bytes(1000))),
    **{
        f"number {place} is huge": framed(
            SOME[:at] + number((1 << 62) + 5) + SOME[at + 1 :],
        )
        for place, at in enumerate(range(behind_sizes(SOME), behind_sizes(SOME) + 9))
    },
    # The library takes this as a size to allocate, wherever the sum runs over.
    **{
        f"number {place} runs over 64 bits": framed(
            SOME[:at] + b"\x81\x81" + b"\xff" * 8 + b"\x7f" + SOME[at + 1 :],
        )
        for place, at in enumerate(range(behind_sizes(SOME), behind_sizes(SOME) + 9))
    },
    "something compressed inside": framed(
        HDIFF_MAGIC
        + b"".join(map(number, (len(TARGET), len(BASE), 0, 9, 9, 0, 0, 0, 0, 0, 0)))
        + bytes(9)
    ),
}


@pytest.mark.parametrize("payload", HDIFF_BROKEN.values(), ids=HDIFF_BROKEN.keys())
def test_every_broken_rule_of_hdiff_is_refused(payload: bytes) -> None:
    with pytest.raises(FormatError), traced(DICTIONARY_SIZE + (1 << 20)):
        apply_delta(Method.HDIFF, payload, BASE, len(TARGET))


def bsdiff(
    *steps: Step,
    difference: int = 5000,
    extra: int = 1000,
    sizes: Step | None = None,
) -> bytes:
    return framed(bsdiff_of(steps, bytes(difference), bytes(extra), sizes=sizes))


FIRST, LAST = STEPS
HUGE = (1 << 63) - 1
BSDIFF_BROKEN = {
    "nothing": b"",
    "nothing inside": framed(b""),
    "cut in the sizes": framed(bytes(11)),
    "sizes that add up to less": bsdiff(*STEPS, sizes=(24, 5000, 1000)),
    "sizes that add up to more": bsdiff(*STEPS, sizes=(48, 5000, 2**32 - 1)),
    "sizes that make another target": bsdiff(*STEPS, difference=5001),
    "control of half a step": framed(
        struct.pack("<III", 36, 5000, 1000) + bytes(36) + bytes(6000)
    ),
    "no steps": bsdiff(),
    "a step less": bsdiff(FIRST),
    "a step more": bsdiff(*STEPS, (1, 0, 0)),
    "add before the base": bsdiff((4000, 100, -4001), (1000, 900, 0)),
    "add behind the base": bsdiff((4000, 100, 1001), (1000, 900, 0)),
    "add far before the base": bsdiff((4000, 100, -HUGE), (1000, 900, 0)),
    "add far behind the base": bsdiff((4000, 100, HUGE), (1000, 900, 0)),
    "skips that come back after overflow": bsdiff(
        (0, 0, HUGE), (0, 0, HUGE), (0, 0, 2), (5000, 1000, 0)
    ),
    "negative add": bsdiff((-1, 100, 0), (5001, 900, 0)),
    "negative copy": bsdiff((4000, -1, 0), (1000, 1001, 0)),
    "add of everything": bsdiff((HUGE, 1000, 0)),
    "copy of everything": bsdiff((5000, HUGE, 0)),
    "sums that would wrap": bsdiff((HUGE, 0, 0), (HUGE, 0, 0), (5002, 1000, 0)),
    "copies for adds": bsdiff((4000, 2000, 0)),
    "bytes behind the stream": bsdiff(*STEPS) + b"\0",
    "another format": framed(SOME),
}  # fmt: skip


@pytest.mark.parametrize("payload", BSDIFF_BROKEN.values(), ids=BSDIFF_BROKEN.keys())
def test_every_broken_rule_of_bsdiff_is_refused(payload: bytes) -> None:
    with pytest.raises(FormatError), traced(DICTIONARY_SIZE + (1 << 20)):
        apply_delta(Method.BSDIFF, payload, BASE, 6000)


def test_a_hundred_thousand_steps_that_do_nothing_take_little_memory() -> None:
    """The difference is as large as its target allows; each number of it would take 40 bytes."""
    idle = [(0, 0, 0)] * 150_000
    payload = framed(bsdiff_of([*idle, (1, 4_000_000, 0)], b"\0", bytes(4_000_000)))
    with traced(40 << 20):
        made = apply_delta(Method.BSDIFF, payload, BASE, 4_000_001)
    assert made == BASE[:1] + bytes(4_000_000)


LZMA_BROKEN = {
    "nothing": b"",
    "a byte less": lzma2_of(TARGET[:-1]),
    "a byte more": lzma2_of(TARGET + b"x"),
    "no end": lzma2_of(TARGET)[:-1],
    "bytes behind": lzma2_of(TARGET) + b"\0",
    "no reset at the start": b"\2" + lzma2_of(TARGET)[1:],
    "a container around it": lzma.compress(TARGET),
    "an old LZMA stream": lzma.compress(TARGET, lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("payload", LZMA_BROKEN.values(), ids=LZMA_BROKEN.keys())
def test_every_broken_rule_of_lzma_is_refused(payload: bytes) -> None:
    with pytest.raises(FormatError):
        apply_delta(Method.LZMA, payload, b"", len(TARGET))


def test_a_packed_delta_with_a_base_is_refused() -> None:
    with pytest.raises(FormatError, match="needs no base"):
        apply_delta(Method.LZMA, lzma2_of(TARGET), BASE, len(TARGET))


@pytest.mark.parametrize("method", [Method.ZSTD, Method.HDIFF, Method.BSDIFF])
def test_a_delta_for_a_base_of_another_size_is_refused_or_makes_other_bytes(method: Method) -> None:
    payload, base, target = SOUND[method]
    for other in (b"", base[:1], base[:-1], base + b"x", base * 2):
        if (made := outcome(method, payload, other, len(target))) is not None:
            # Only ids can tell; the size at least is what was asked for.
            assert method is not Method.HDIFF
            assert len(made) == len(target)


@pytest.mark.parametrize("method", Method)
def test_a_delta_of_one_method_is_none_of_another(method: Method) -> None:
    payload, base, target = SOUND[method]
    for other in {*Method} - {method}:
        with pytest.raises(FormatError):
            apply_delta(other, payload, b"" if other is Method.LZMA else base, len(target))


@pytest.mark.parametrize("method", Method)
def test_a_delta_cut_off_anywhere_is_refused(method: Method) -> None:
    payload, base, target = SOUND[method]
    step = max(1, len(payload) // 1500)
    ends = {*range(0, len(payload), step), *range(max(0, len(payload) - 300), len(payload))}
    for end in [*range(min(200, len(payload))), *sorted(ends)]:
        with pytest.raises(FormatError):
            apply_delta(method, payload[:end], base, len(target))


def outcome(method: Method, payload: bytes, base: bytes, size: int) -> bytes | None:
    """What comes out, of the right size; None if it was refused."""
    try:
        made = apply_delta(method, payload, base, size)
    except FormatError:
        return None
    assert len(made) == size
    return bytes(made)


@pytest.mark.parametrize("method", Method)
def test_no_flipped_bit_raises_anything_else(method: Method) -> None:
    """All bits of the first and last bytes, where the fields are, and some in between."""
    payload, base, target = SOUND[method]
    chance = random.Random(9)
    within = chance.sample(range(len(payload)), min(200, len(payload)))
    places = {*range(min(80, len(payload))), *within, *range(len(payload) - 20, len(payload))}
    with traced(48 << 20):
        for at in sorted(places):
            for bit in range(8):
                damaged = bytearray(payload)
                damaged[at] ^= 1 << bit
                outcome(method, bytes(damaged), base, len(target))


INSIDES: dict[Method, Callable[[bytes], bytes]] = {
    Method.ZSTD: bytes,
    Method.HDIFF: framed,
    Method.BSDIFF: framed,
    Method.LZMA: bytes,
    Method.UNFOLDED: bytes,
    Method.RELINKED: framed,
}
PLAIN = {
    Method.ZSTD: SOUND[Method.ZSTD][0],
    Method.HDIFF: SOME,
    Method.BSDIFF: bsdiff_of(STEPS, bytes(5000), bytes(1000)),
    Method.LZMA: lzma.compress(TARGET, lzma.FORMAT_RAW, filters=FILTERS),
    Method.UNFOLDED: SOUND[Method.UNFOLDED][0],
    Method.RELINKED: RELINKED,
}
NUMBERS = [
    0,
    1,
    127,
    128,
    len(BASE),
    len(TARGET),
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 62,
    (1 << 63) - 1,
]


def mutant(plain: bytes, chance: random.Random) -> bytes:
    """Change what a delta says before it is packed, so that what unpacks it cannot object."""
    changed = bytearray(plain)
    head = min(len(changed), 80)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(head if chance.random() < 0.6 else len(changed))
        match chance.randrange(4):
            case 0:
                changed[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            case 1:
                changed[at : at + chance.randrange(3)] = number(chance.choice(NUMBERS))
            case 2:
                of = chance.randrange(len(changed))
                changed[at : at + 8] = changed[of : of + 8]
            case _:
                changed[at : at + 8] = struct.pack("<Q", chance.choice(NUMBERS))
    return bytes(changed)


@pytest.mark.parametrize("method", Method)
def test_thousands_of_mutants_raise_nothing_else_and_take_little(method: Method) -> None:
    """A bounded dose of what ``tests/fuzz/delta.py`` does for as long as it is told to."""
    _, base, target = SOUND[method]
    chance = random.Random(11)
    refused = 0
    with traced(48 << 20):
        for _ in range(2000):
            payload = INSIDES[method](mutant(PLAIN[method], chance))
            refused += outcome(method, payload, base, len(target)) is None
    assert refused > 500


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(Method), st.binary(max_size=300), st.integers(1, 3000), st.booleans())
def test_no_bytes_whatever_raise_anything_else(
    method: Method, noise: bytes, size: int, is_framed: bool
) -> None:
    payload = framed(noise) if is_framed else noise
    outcome(method, payload, b"" if method is Method.LZMA else BASE, size)


def lzma2_bomb(size_in_mib: int) -> bytes:
    """A raw LZMA2 stream of zeros: the chunk that holds 2 MiB of them, again and again."""
    once = lzma.compress(bytes(2 << 20), lzma.FORMAT_RAW, filters=FILTERS)
    return once[:-1] * (size_in_mib // 2) + b"\0"


def zstd_bomb(size: int, declared: int) -> bytes:
    """A frame of zeros, each block of which is four bytes; it may say another size."""
    blocks, block = size >> 17, (1 << 17) << 3 | 1 << 1
    body = struct.pack("<I", block)[:3] + b"\0"
    last = struct.pack("<I", block | 1)[:3] + b"\0"
    header = b"\x28\xb5\x2f\xfd\xc0\x78" + struct.pack("<Q", declared)
    return header + body * (blocks - 1) + last


MIB = 1 << 20
BOMBS = {
    "zstd that declares 1 GiB": (Method.ZSTD, zstd_bomb(1 << 30, 1 << 30), 8 * MIB),
    "zstd that declares little": (Method.ZSTD, zstd_bomb(1 << 30, 8 * MIB), 8 * MIB),
    "zstd with the largest window": (Method.ZSTD, zstd_bomb(1 << 30, 1), 1),
    "lzma of 2 GiB": (Method.LZMA, lzma2_bomb(2048), 8 * MIB),
    "hdiff of 2 GiB that says so": (
        Method.HDIFF, struct.pack("<I", (1 << 31) - 1) + lzma2_bomb(2048), 8 * MIB,
    ),
    "hdiff of 2 GiB that says little": (
        Method.HDIFF, struct.pack("<I", 16 * MIB) + lzma2_bomb(2048), 8 * MIB,
    ),
    "bsdiff of 2 GiB that says little": (
        Method.BSDIFF, struct.pack("<I", 16 * MIB) + lzma2_bomb(2048), 8 * MIB,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("method", "payload", "size"), BOMBS.values(), ids=BOMBS.keys())
def test_bombs_are_refused_within_memory_for_the_target(
    method: Method, payload: bytes, size: int
) -> None:
    assert len(payload) < 600_000
    with pytest.raises(FormatError), traced(3 * size + 24 * MIB):
        apply_delta(method, payload, b"", size)


@pytest.mark.slow
def test_all_bombs_and_the_largest_deltas_fit_a_process_of_120_mib(tmp_path: Path) -> None:
    """Told by the kernel, for not every allocation is Python's."""
    base = random.Random(4).randbytes(12 * MIB)
    quick = make_delta(base[: 8 * MIB], base, Effort.QUICK)
    best = framed(hdiff_of(base, base[: 8 * MIB]))
    blocks = [
        *BOMBS.values(),
        (quick.method, quick.payload, 8 * MIB),
        (Method.HDIFF, best, 8 * MIB),
    ]
    for at, (method, payload, size) in enumerate(blocks):
        (tmp_path / f"{at}").write_bytes(payload)
        (tmp_path / f"{at}.args").write_text(f"{int(method)} {size}")
    (tmp_path / "base").write_bytes(base)
    child = subprocess.run(
        [sys.executable, "-m", "tests.applying_child", str(tmp_path), str(len(blocks))],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    made_count, peak = map(int, child.stdout.split())
    assert made_count == 2
    assert peak < 120 * MIB


def test_delta_says_how_it_was_found() -> None:
    assert make_delta(b"x", b"", Effort.QUICK) == Delta(Method.ZSTD, zstd_quick(b"x"), Effort.QUICK)


def zstd_quick(target: bytes) -> bytes:
    return zstd_of(target, window_log=delta.WINDOW_LOG_MAX)


class traced:  # noqa: N801 - reads as a statement
    """Fail if what Python allocates within takes more than ``limit`` bytes at a time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def __enter__(self) -> None:
        tracemalloc.start()

    def __exit__(self, *_: object) -> None:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= self._limit, f"took {peak} bytes"
