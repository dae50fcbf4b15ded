"""Titles with real deltas: pushed, deltas made, and every object at hand for an edge to serve."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from kit.clock import ManualClock
from kit.object_storage.testing import MemoryStorage
from manifests import locations
from manifests.documents import Head, parse_head
from packager.deltas import add_deltas
from packager.patches import DeltaSettings
from packager.title_store import TitleStore
from tests.pushes import IN_AN_HOUR_S, LIVE, TITLE, FreeLock, push_folder, stored_objects


def changed_a_little(folder: Path, version: int) -> Path:
    """Write 4 MB that hardly compress; each version changes some bytes all over the one before."""
    folder.mkdir()
    content = bytearray(random.Random(0).randbytes(4_000_000))
    for step in range(1, version):
        rng = random.Random(step)
        for _ in range(40):
            at = rng.randrange(len(content) - 8)
            content[at : at + 8] = rng.randbytes(8)
    (folder / "world.pak").write_bytes(content)
    (folder / "version.txt").write_text(f"{version}")
    return folder


@dataclass
class DeltaTitle:
    """A title in memory; ``objects`` are what an edge serves now."""

    folder: Path
    storage: MemoryStorage = field(default_factory=MemoryStorage)
    objects: dict[str, bytes] = field(default_factory=dict)
    count: int = 0

    async def push(self, *bases: int) -> Path:
        """Push the next version, with a delta set from each of ``bases``; return its folder."""
        self.count += 1
        tree = changed_a_little(self.folder / f"v{self.count}", self.count)
        await push_folder(self.storage, tree, f"{self.count}.0")
        for base in bases:
            await add_deltas(
                TitleStore(self.storage, TITLE),
                FreeLock(),
                base,
                self.count,
                settings=DeltaSettings(),
                cache_folder=tree.with_name(f"{tree.name}.cache"),
                clock=ManualClock(IN_AN_HOUR_S),
            )
        self.objects.clear()
        self.objects.update(await stored_objects(self.storage))
        return tree

    def head(self) -> Head:
        return parse_head(self.objects[locations.head_key(TITLE, LIVE)], TITLE, LIVE)

    def index_keys(self) -> set[str]:
        return {locations.manifest_key(TITLE, d.index.raw_digest) for d in self.head().deltas}

    def delta_bundle_keys(self) -> set[str]:
        return {k for k, v in self.objects.items() if "/b/" in k and v.endswith(b"PHDELTAS")}
