"""Pairs of published builds that are alike, and what their deltas make."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from chunks.chunk_id import ChunkId, chunk_id_of, digest_of
from chunks.delta import apply_delta
from kit.clock import ManualClock
from kit.object_storage import ObjectStorage
from kit.units import Seconds
from manifests import locations
from manifests.documents import ObjectRef
from manifests.model import Build
from packager.chunk_source import ChunkSource
from packager.deltas import DeltaReport, add_deltas
from packager.lock import Lock
from packager.settings import DeltaSettings
from packager.title_store import TitleStore
from tests.pushes import TITLE, FreeLock, push_folder

Files = Mapping[str, bytes]


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def sprinkled(content: bytes, seed: int, every: int = 20_000) -> bytes:
    """Change a byte every so often: no chunk stays, though nearly all of it does."""
    chance, changed = random.Random(seed), bytearray(content)
    for at in range(chance.randrange(every), len(changed), every):
        changed[at] ^= 1 + chance.randrange(255)
    return bytes(changed)


def recompiled(content: bytes, version: int, every: int = 400) -> bytes:
    """Change the same addresses in every version, each time to other ones."""
    changed = bytearray(content)
    for at in range(every // 2, len(changed) - 4, every):
        changed[at : at + 3] = random.Random(version * len(content) + at).randbytes(3)
    return bytes(changed) if version else content


def write_files(folder: Path, files: Files) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


async def publish_files(
    storage: ObjectStorage, folder: Path, version: str, files: Files, **more: Any
) -> Build:
    """Push ``files`` as ``version`` and return the build."""
    source = write_files(folder / f"build {version}", files)
    report = await push_folder(
        storage, source, version, cache_folder=folder / f"push {version}", **more
    )
    store = TitleStore(storage, TITLE)
    assert report.counter is not None
    return await store.build((await store.release(report.counter)).root)


async def make(
    storage: ObjectStorage,
    cache_folder: Path,
    base: str | int | None = None,
    target: str | int | None = None,
    **more: Any,
) -> DeltaReport:
    """Make one set."""
    (report,) = await make_all(storage, cache_folder, base, target, reach=1, **more)
    return report


async def make_all(
    storage: ObjectStorage,
    cache_folder: Path,
    base: str | int | None = None,
    target: str | int | None = None,
    *,
    lock: Lock | None = None,
    cpu_seconds_max: float = 3600,
    reach: int = 3,
    workers: int | None = 1,
    **more: Any,
) -> list[DeltaReport]:
    """Make a set, and those from builds before it that pay."""
    making = add_deltas(
        TitleStore(storage, TITLE),
        lambda: lock or FreeLock(),
        base,
        target,
        settings=DeltaSettings(cpu_seconds_max=Seconds(cpu_seconds_max), reach=reach),
        cache_folder=cache_folder,
        clock=ManualClock(),
        workers=workers,
        **more,
    )
    return [report async for report in making]


async def chunks_of(store: TitleStore, build: Build) -> dict[ChunkId, bytes]:
    """Every chunk of a build as a console that fetches it has it."""
    with ThreadPoolExecutor(1) as threads:
        source = ChunkSource(store, build, threads)
        return {
            build.chunks.chunk_id(row): await source.read([row]) for row in range(len(build.chunks))
        }


async def made_by(
    store: TitleStore, refs: Iterable[ObjectRef], have: Mapping[ChunkId, bytes]
) -> dict[ChunkId, bytes]:
    """Apply every delta of these sets to the chunks at hand; each must make what it says."""
    made: dict[ChunkId, bytes] = {}
    for ref in refs:
        index = await store.delta_index(ref)
        sizes = dict(zip(index.all_ids, index.sizes.tolist(), strict=True))
        for number in range(len(index)):
            delta = index.delta(number)
            key = locations.bundle_key(TITLE, delta.bundle.bundle_id)
            payload = await store.storage.read(key, delta.offset, delta.size)
            assert digest_of(payload)[:16] == delta.check
            base = b"".join(have[chunk_id] for chunk_id in delta.bases)
            size = sum(sizes[chunk_id] for chunk_id in delta.targets)
            target, at = apply_delta(delta.method, payload, base, size), 0
            for chunk_id in delta.targets:
                made[chunk_id] = bytes(target[at : at + sizes[chunk_id]])
                assert chunk_id_of(digest_of(made[chunk_id])) == chunk_id
                at += sizes[chunk_id]
    return made
