"""hdiffpatch as a program: a process of its own, so that its memory can be told from ours.

``python -m benchmarks.hdiffz make|apply LIST``: a line of the file LIST is ``OLD NEW PATCH``, with
tabs between. Each patch is the smaller of two: packed with zstd 19, or with lzma2 9 (finding the
matches is the long part, and is done once).
"""

from __future__ import annotations

import sys
from pathlib import Path

import hdiffpatch


def main() -> None:
    """Make all patches of the list, or apply them."""
    verb, names = sys.argv[1:]
    for line in Path(names).read_text().splitlines():
        old, new, patch = map(Path, line.split("\t"))
        if verb == "make":
            patch.write_bytes(make(old.read_bytes(), new.read_bytes()))
        else:
            new.write_bytes(hdiffpatch.apply(old.read_bytes(), patch.read_bytes()))


def make(old: bytes, new: bytes) -> bytes:
    """Return the smaller patch."""
    zstd = hdiffpatch.ZStdConfig(level=19, window=27)
    patch = hdiffpatch.diff(old, new, zstd, validate=False)
    other = hdiffpatch.recompress(patch, hdiffpatch.Lzma2Config(level=9, window=27))
    return min(patch, other, key=len)


if __name__ == "__main__":
    main()
