"""Make builds of folders and store nothing: what a publisher wants to know before a push.

The older folder is only cut. Of the newer one the chunks that the older lacks are compressed and
packed as a push would, so their stored sizes are what consoles would fetch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chunks import codec
from chunks.bundle import Bundle
from kit.buffers import Buffer
from kit.clock import Clock
from manifests.model import Build
from manifests.names import TitleId
from packager.build_writer import write_build
from packager.ignore_rules import load_ignore_rules
from packager.known_chunks import KnownChunks
from packager.layout import Layout, PlannedGroup, arrange, arrange_loosely
from packager.ledger import Ledger
from packager.pipeline import Pipeline
from packager.progress import ProgressDisplay, Unseen
from packager.scan import ScannedFile, scan
from packager.segments import segments_of
from packager.windows import WindowReader

NO_TITLE = TitleId("trial")
"""A root names its title; nobody sees this one."""


@dataclass(frozen=True, slots=True)
class TrialPair:
    """Two builds of one title; shared chunks count as stored once, with the older."""

    old: Build
    new: Build


async def try_builds(
    old: Path,
    new: Path,
    *,
    layout: Layout | None = None,
    ignore: Sequence[str] = (),
    clock: Clock,
    display: ProgressDisplay | None = None,
    workers: int | None = None,
) -> TrialPair:
    """Make builds of two folders as if the older were published and the newer about to be.

    Args:
        old: The folder that players have.
        new: The folder that would be pushed.
        layout: Install groups and play order of both; a group that nothing in ``old`` belongs
            to is new.
        ignore: Patterns of what is no part of either, after those of ``.playheadignore``.
        clock: Times the stages.
        display: Is shown the progress, of each folder in turn.
        workers: Threads that hash and compress; by default one for each core.

    Raises:
        InvalidInput: A folder cannot be published; up to twenty reasons are named.
    """

    async def run(
        source: Path,
        arranged: Callable[[Sequence[ScannedFile], Layout | None], list[PlannedGroup]],
        known: KnownChunks,
        pack: Callable[[Buffer], Buffer],
    ) -> Build:
        def plan() -> list[PlannedGroup]:
            return arranged(scan(source, load_ignore_rules(source, ignore)), layout)

        groups = await asyncio.to_thread(plan)
        segments = list(segments_of(groups))
        ledger = Ledger(len(groups), known)
        pipeline = Pipeline(
            WindowReader(source, segments, lambda _: None),
            ledger,
            _forget,
            total_size=sum(segment.size for segment in segments),
            clock=clock,
            display=display or Unseen(),
            workers=workers,
            pack=pack,
        )
        await pipeline.run()
        return (await asyncio.to_thread(write_build, NO_TITLE, groups, ledger)).build

    before = await run(old, arrange_loosely, KnownChunks((), {}), _uncompressed)
    stored = {bundle.bundle_id: bundle.size for bundle in before.chunks.bundles}
    after = await run(new, arrange, KnownChunks((before.chunks,), stored), codec.pack)
    return TrialPair(before, after)


async def _forget(bundle: Bundle) -> None:
    """Store nothing."""


def _uncompressed(plain: Buffer) -> Buffer:
    return plain
