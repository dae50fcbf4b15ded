"""Explain a patch, of two folders or of two releases: ``playhead explain``.

1. Make builds of both folders, or read both releases' manifests.
2. Compare them span by span; nothing but chunk ids is needed for that.
3. Look at a bounded number of bytes, the costliest files first, and judge the causes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from kit.clock import Clock
from manifests.documents import Release
from packager.comparison import compare
from packager.delta_report import way_between
from packager.judgement import judge
from packager.layout import Layout
from packager.patch_report import BuildPair, PatchReport, report_on
from packager.progress import ProgressDisplay
from packager.releases import find_release
from packager.sample_sources import FolderBytes, ReleaseBytes
from packager.samples import Samples
from packager.title_store import TitleStore
from packager.trial import try_builds

FOLDER_READ_MAX = 1 << 30
"""Read and compared in about ten seconds."""

RELEASE_READ_MAX = 64 << 20
"""Read from the storage, which may be far and cost money."""


async def explain_folders(
    old: Path,
    new: Path,
    *,
    layout: Layout | None = None,
    ignore: Sequence[str] = (),
    clock: Clock,
    display: ProgressDisplay | None = None,
    workers: int | None = None,
) -> PatchReport:
    """Explain what pushing ``new`` would cost players of ``old``; nothing is stored.

    Args as for :func:`packager.trial.try_builds`.

    Raises:
        InvalidInput: A folder cannot be published, or changed meanwhile.
    """
    started_s = clock.monotonic()
    builds = await try_builds(
        old, new, layout=layout, ignore=ignore, clock=clock, display=display, workers=workers
    )
    pair = BuildPair(builds.old, builds.new, str(old), str(new))
    samples = Samples(FolderBytes(old), FolderBytes(new), FOLDER_READ_MAX)
    return await asyncio.to_thread(_explained, pair, samples, clock, started_s)


async def explain_releases(
    store: TitleStore, old: str | int, new: str | int, *, clock: Clock
) -> PatchReport:
    """Explain what the update from one release to another cost or will cost players.

    Each is a counter (a number), or a version (text), which means the newest release of it.

    Raises:
        NotFound: There is no such release, or a part of it was swept away.
        IntegrityError, FormatError: A part of it is damaged.
    """
    started_s = clock.monotonic()
    releases = await store.releases()
    before, after = (find_release(store.title, releases, which) for which in (old, new))
    pair = BuildPair(
        await store.build(before.root), await store.build(after.root), _name(before), _name(after)
    )
    loop = asyncio.get_running_loop()
    samples = Samples(
        ReleaseBytes(store, pair.old, loop), ReleaseBytes(store, pair.new, loop), RELEASE_READ_MAX
    )
    report = await asyncio.to_thread(_explained, pair, samples, clock, started_s)
    way = await way_between(store, (before, pair.old), (after, pair.new), releases)
    return msgspec.structs.replace(report, delta_size=way.size) if way.delta_count else report


def _explained(pair: BuildPair, samples: Samples, clock: Clock, started_s: float) -> PatchReport:
    comparison = compare(pair.old, pair.new)
    judgement = judge(comparison, samples)
    return report_on(
        pair,
        comparison,
        judgement,
        read_size=samples.read_size,
        total_seconds=clock.monotonic() - started_s,
    )


def _name(release: Release) -> str:
    return f"release {release.counter} ({release.version})"
