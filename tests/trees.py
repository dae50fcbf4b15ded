"""Real files to publish: small, seeded, with one of everything a build may hold."""

from __future__ import annotations

import random
from pathlib import Path


def write_tree(folder: Path, *, seed: int, changes: int = 0) -> None:
    """Write about 6 MB: large and small files, an executable, a link, an empty folder and file.

    ``changes`` files differ from the tree of the same seed without changes; one is dropped and one
    is new if there are any.
    """
    rng = random.Random(seed)
    sizes = {"engine.bin": 3_000_000, "world.pak": 2_000_000, "run": 70_000, "empty.cfg": 0}
    sizes |= {f"text/line{index:03}.txt": rng.randrange(1, 9_000) for index in range(120)}
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.randbytes(size // 2)
        path.write_bytes(noise + b"the same words again and again. " * (size // 64))
    (folder / "run").chmod(0o755)
    (folder / "saves").mkdir()
    (folder / "latest.txt").symlink_to("text/line001.txt")
    for name in sorted(sizes)[:changes]:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2 : len(data) // 2] = rng.randbytes(500)
        (folder / name).write_bytes(data)
    if changes:
        (folder / "text" / "line119.txt").unlink()
        (folder / "text" / "fresh.txt").write_bytes(rng.randbytes(5000))
