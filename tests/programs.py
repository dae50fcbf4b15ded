"""Programs made of nothing, linked twice: functions that call each other, and pointers to them."""

from __future__ import annotations

import random
import struct

import numpy as np

from chunks.covers import covers_of_hdiff
from chunks.relinked import encode_relinked
from tests.deltas import hdiff_of

FUNCTION_COUNT = 600


def program(grown: frozenset[int]) -> bytes:
    """Functions that call each other, and pointers to them; ``grown`` ones are longer."""
    chance = random.Random(4)
    bodies = [chance.randbytes(chance.randrange(60, 200)) for _ in range(FUNCTION_COUNT)]
    calls = [[chance.randrange(FUNCTION_COUNT) for _ in range(6)] for _ in bodies]
    bodies = [body + b"\x90" * 48 * (at in grown) for at, body in enumerate(bodies)]
    starts = np.cumsum([0, *(len(body) + 30 for body in bodies)]).tolist()
    out = bytearray()
    for body, callees in zip(bodies, calls, strict=True):
        out += body
        for callee in callees:
            out += b"\xe8" + struct.pack("<i", starts[callee] - len(out) - 5)
    for start in starts[:-1]:
        out += struct.pack("<Q", start + 0x10_0000)
    return bytes(out)


BASE, TARGET = program(frozenset()), program(frozenset({70, 200, 410}))


def plain_of(target: bytes, base: bytes) -> bytes | None:
    covers = covers_of_hdiff(hdiff_of(base, target))
    return encode_relinked(np.frombuffer(target, np.uint8), np.frombuffer(base, np.uint8), covers)
