"""Payloads of deltas built by hand, in the words of the specification, so that any may be wrong."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from itertools import pairwise

import hdiffpatch

HDIFF_MAGIC = b"HDIFF13&\0"

Step = tuple[int, int, int]
"""Of bsdiff: add, copy, skip."""


def lzma2_of(plain: bytes) -> bytes:
    """A raw LZMA2 stream that holds ``plain`` as it is; takes no time, unlike packing."""
    parts = [
        bytes([2 if at else 1]) + struct.pack(">H", len(part) - 1) + part
        for at in range(0, len(plain), 1 << 16)
        if (part := plain[at : at + (1 << 16)])
    ]
    return b"".join(parts) + b"\0"


def framed(plain: bytes, *, says: int | None = None) -> bytes:
    """A payload of ``hdiff`` or ``bsdiff``; ``says`` is a lie about the plain size."""
    return struct.pack("<I", len(plain) if says is None else says) + lzma2_of(plain)


def number(value: int) -> bytes:
    """A number as HDIFF13 writes it: seven bits a byte, the highest first."""
    raw = [value & 0x7F]
    while value := value >> 7:
        raw.append(value & 0x7F | 0x80)
    return bytes(reversed(raw))


def hdiff_of(base: bytes, target: bytes) -> bytes:
    """A plain HDIFF13 difference."""
    return hdiffpatch.diff(base, target, None, validate=False)


def behind_sizes(difference: bytes) -> int:
    """Where an HDIFF13 difference goes on behind the sizes of target and base."""
    at = len(HDIFF_MAGIC)
    for _ in range(2):
        while difference[at] & 0x80:
            at += 1
        at += 1
    return at


def bsdiff_number(value: int) -> int:
    """A number of bsdiff's as the 64 bits it is written in: sign and magnitude."""
    return (1 << 63) - value if value < 0 else value


def bsdiff_of(
    steps: Sequence[Step], difference: bytes, extra: bytes, *, sizes: Step | None = None
) -> bytes:
    """A plain difference of bsdiff's; ``sizes`` are lies about those of its parts."""
    numbers = [bsdiff_number(value) for step in steps for value in step]
    control = struct.pack(f"<{len(numbers)}Q", *numbers)
    sizes = sizes or (len(control), len(difference), len(extra))
    return struct.pack("<III", *sizes) + control + difference + extra


def likeness(seed: int, size: int) -> tuple[bytes, bytes]:
    """Base and target that are alike as two builds of a program are: bytes move, numbers shift."""
    chance = random.Random(seed)
    base = chance.randbytes(size)
    cuts = sorted({0, size, *(chance.randrange(size) for _ in range(6))})
    pieces = [bytearray(base[start:end]) for start, end in pairwise(cuts)]
    for piece in pieces:
        for at in range(chance.randrange(9), len(piece), 97):
            piece[at] = (piece[at] + 3) & 0xFF
    pieces.insert(chance.randrange(len(pieces)), bytearray(chance.randbytes(size // 50 + 1)))
    return base, b"".join(pieces)
