"""Bytes from a seed, the same on every machine: what golden objects and cut vectors are made of."""

from __future__ import annotations

import random


def text_like(seed: int, size: int) -> bytes:
    """Numbered lines that pack to a thirtieth and are cut by content all the same."""
    start = random.Random(seed).randrange(10**6)
    lines = (b"%09d: the road goes on\n" % (start + i) for i in range(size // 28 + 1))
    return b"".join(lines)[:size]


def named_input(name: str) -> bytes:
    """Return the input that a cut vector names: kind, seed and size, as ``random/7/65537``."""
    kind, seed, size = name.split("/")
    match kind:
        case "random":
            return random.Random(int(seed)).randbytes(int(size))
        case "text":
            return text_like(int(seed), int(size))
        case _:
            return bytes(int(size))


CUT_INPUTS = [
    *(f"random/1/{size}" for size in (0, 1, 65535, 65536, 65537, 262144, 1 << 20, 1048577)),
    *(f"random/{seed}/{seed << 20}" for seed in (2, 3, 5)),
    "random/4/3333333",
    "zeros/0/2097153",
    "text/6/3000001",
]
