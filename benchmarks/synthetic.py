"""Builds made on the spot: seeded, about as compressible as games, of any size and file count."""

from __future__ import annotations

import random
from pathlib import Path

BLOCK_SIZE = 1 << 20
TEXT_WORDS = 4_000_000
"""30 MB of words that blocks are cut from: far more than a window of zstd, or files would resemble
each other as no game's do."""
NOISE_PERCENT = 45
"""The share of a block that does not compress; the rest is short words. zstd keeps about half."""


def write_build(folder: Path, size: int, file_count: int, seed: int = 7) -> None:
    """Write ``file_count`` files, ``size`` bytes together, below ``folder``; sizes vary tenfold."""
    rng = random.Random(seed)
    weights = [10 ** rng.random() for _ in range(file_count)]
    unit = size / sum(weights)
    words = [rng.randbytes(rng.randrange(3, 12)) for _ in range(400)]
    text = b"".join(rng.choices(words, k=TEXT_WORDS))
    for index, weight in enumerate(weights):
        path = folder / f"level{index % 64:02}" / f"asset{index:06}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            left = max(1, int(weight * unit))
            while left > 0:
                block = _block(rng, text, min(left, BLOCK_SIZE))
                file.write(block)
                left -= len(block)


def _block(rng: random.Random, text: bytes, size: int) -> bytes:
    noise = rng.randbytes(size * NOISE_PERCENT // 100)
    rest = size - len(noise)
    start = rng.randrange(len(text) - BLOCK_SIZE)
    return noise + text[start : start + rest]


def change_build(folder: Path, seed: int = 8, share: float = 0.02) -> None:
    """Overwrite, in about ``share`` of the files, some bytes in the middle."""
    rng = random.Random(seed)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in rng.sample(paths, max(1, int(len(paths) * share))):
        # In place: a benchmark that grows by 5 GB would show in the peaks of all it starts.
        with path.open("r+b") as file:
            size = file.seek(0, 2)
            file.seek(rng.randrange(size))
            file.write(rng.randbytes(min(1 << 16, max(1, size // 8))))
