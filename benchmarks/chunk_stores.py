"""What an update downloads if only whole chunks are shared; no delta, no metadata.

``python -m benchmarks.chunk_stores fixed|cut OLD NEW`` prints bytes: of the chunks of ``NEW`` that
``OLD`` does not have, each packed by zstd 19. ``fixed`` chunks are 1 MiB of each file, ``cut`` ones
are as Playhead cuts them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import zstandard

from chunks.chunk_id import Digest, digest_of
from packager.ignore_rules import IgnoreRules
from packager.layout import arrange
from packager.scan import scan
from packager.segments import segments_of
from packager.windows import WINDOW_SIZE, CutPart, WindowReader

FIXED_SIZE = 1 << 20
LEVEL = 19


def main() -> None:
    """Print the size."""
    kind, old, new = sys.argv[1:]
    chunks_of = fixed if kind == "fixed" else cut_by_content
    has = {digest_of(chunk) for chunk in chunks_of(Path(old))}
    print(sum(_packed_sizes(chunks_of(Path(new)), has)))


def fixed(folder: Path) -> Iterator[bytes]:
    """Yield every file, 1 MiB at a time."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                while chunk := file.read(FIXED_SIZE):
                    yield chunk


def cut_by_content(folder: Path) -> Iterator[memoryview]:
    """Yield the chunks of a push without a layout; each is gone once the next is asked for."""
    segments = segments_of(arrange(scan(folder, IgnoreRules()), None))
    reader = WindowReader(folder, segments, lambda _: None)
    buffer = bytearray(WINDOW_SIZE)
    while window := reader.fill(buffer):
        for part in window.parts:
            assert isinstance(part, CutPart)
            start = part.start
            for size in part.sizes:
                yield memoryview(buffer)[start : start + size]
                start += size


def _packed_sizes(
    chunks: Iterator[bytes] | Iterator[memoryview], has: set[Digest]
) -> Iterator[int]:
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    for chunk in chunks:
        name = digest_of(chunk)
        if name not in has:
            has.add(name)
            yield min(len(chunk), len(compressor.compress(chunk)))


if __name__ == "__main__":
    main()
