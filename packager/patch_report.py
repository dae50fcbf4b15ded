"""The report of why a patch is big: what ``playhead explain`` prints, as JSON and as a page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from manifests.model import Build
from packager.causes import Cause, Finding, Nature, findings_of, nature_of
from packager.comparison import (
    Comparison,
    FileComparison,
    RemovedFile,
    Sizes,
    Span,
    SpanKind,
)
from packager.explain import Download, download
from packager.judgement import Judgement

STRIPS_MAX = 24
"""Files whose length is drawn: more than a screen of them nobody looks at."""

STRIP_CELLS = 480
"""Two pixels each on a usual screen."""


class StripCell(msgspec.Struct, frozen=True, array_like=True):
    """A stretch ``[start, end)`` of a file, and what became of most of it."""

    start: int
    end: int
    kind: SpanKind


class PatchFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not as before; sizes in bytes."""

    path: str
    group: str
    change: str
    """``added``, ``changed``, ``mode``; ``carried``: no byte of it changed, but it is stored in a
    chunk with one that did; ``renamed``: it was there under ``old_path``."""
    old_path: str
    """What it was compared with; empty if there was nothing."""
    old_size: int
    size: int
    sizes: Sizes
    cause: Cause | None
    """The costliest; None if it costs nothing and was not moved."""
    nature: Nature | None
    strip: tuple[StripCell, ...] = ()
    """Of the costliest files."""


class PatchGroup(msgspec.Struct, frozen=True, kw_only=True):
    """An install group of the newer build; sizes in bytes."""

    name: str
    file_count: int
    changed_count: int
    sizes: Sizes


class PatchReport(msgspec.Struct, frozen=True, kw_only=True):
    """Why the patch from one build to another is as big as it is; sizes in bytes."""

    old: str
    """The older folder or release."""
    new: str
    old_size: int
    """Of all files."""
    size: int
    sizes: Sizes
    update: Download
    """What a console that has the older build fetches for the newer."""
    delta_size: int | None = None
    """What it would fetch with deltas; None if that was not reckoned."""
    groups: tuple[PatchGroup, ...]
    findings: tuple[Finding, ...]
    """The costliest first; what they cost adds up to ``sizes.download``."""
    files: tuple[PatchFile, ...]
    """All that are not as before, the costliest first."""
    removed: tuple[RemovedFile, ...]
    unread_count: int
    """Files whose cause was judged by their chunks alone, as enough was read."""
    read_size: int
    """Bytes looked at for the causes."""
    total_seconds: float


@dataclass(frozen=True, slots=True)
class BuildPair:
    """Two builds, and what to call them."""

    old: Build
    new: Build
    old_name: str
    new_name: str


def report_on(
    pair: BuildPair,
    comparison: Comparison,
    judgement: Judgement,
    *,
    read_size: int,
    total_seconds: float,
) -> PatchReport:
    """Put together what was found."""
    return PatchReport(
        old=pair.old_name,
        new=pair.new_name,
        old_size=pair.old.installed_size,
        size=pair.new.installed_size,
        sizes=comparison.sizes,
        update=download(pair.old, pair.new),
        groups=tuple(
            PatchGroup(
                name=group.name,
                file_count=group.file_count,
                changed_count=group.changed_count,
                sizes=group.sizes,
            )
            for group in comparison.groups
        ),
        findings=tuple(findings_of(judgement.verdicts)),
        files=tuple(_files(comparison, judgement)),
        removed=comparison.removed,
        unread_count=len(judgement.unread),
        read_size=read_size,
        total_seconds=total_seconds,
    )


def _files(comparison: Comparison, judgement: Judgement) -> list[PatchFile]:
    costs: defaultdict[str, list[tuple[int, Cause]]] = defaultdict(list)
    for verdict in judgement.verdicts:
        costs[verdict.path].append((verdict.download_size, verdict.cause))
    ordered = sorted(
        comparison.files, key=lambda file: (-file.download_size, -file.sizes.moved, file.path)
    )
    return [
        _file(
            file,
            max(costs.get(file.path, ()), key=lambda cost: cost[0], default=(0, None))[1],
            is_carried=file.path in judgement.carried,
            is_drawn=index < STRIPS_MAX,
        )
        for index, file in enumerate(ordered)
    ]


def _file(
    file: FileComparison, cause: Cause | None, *, is_carried: bool, is_drawn: bool
) -> PatchFile:
    change = file.change.value
    if is_carried:
        change = "carried"
    elif cause in (Cause.RENAMED, Cause.CASE):
        change = "renamed"
    return PatchFile(
        path=file.path,
        group=file.group,
        change=change,
        old_path=file.old_path,
        old_size=file.old_size,
        size=file.size,
        sizes=file.sizes,
        cause=cause,
        nature=None if cause is None else nature_of(cause),
        strip=tuple(strip_of(file.spans, file.size)) if is_drawn else (),
    )


def strip_of(spans: Sequence[Span], size: int) -> list[StripCell]:
    """Return the spans of a file as at most ``STRIP_CELLS`` stretches, none too short to see.

    A stretch that holds bytes of several kinds is of the one that most of them are.
    """
    if len(spans) <= STRIP_CELLS:
        return _joined([StripCell(span.start, span.end, span.kind) for span in spans])
    cells: list[StripCell] = []
    remaining = iter(spans)
    span = next(remaining)
    for number in range(STRIP_CELLS):
        start, end = size * number // STRIP_CELLS, size * (number + 1) // STRIP_CELLS
        counts: defaultdict[SpanKind, int] = defaultdict(int)
        while True:
            counts[span.kind] += max(0, min(end, span.end) - max(start, span.start))
            if span.end >= end:
                break
            span = next(remaining)
        cells.append(StripCell(start, end, max(counts, key=lambda kind: counts[kind])))
    return _joined(cells)


def _joined(cells: Sequence[StripCell]) -> list[StripCell]:
    joined: list[StripCell] = []
    for cell in cells:
        if joined and joined[-1].kind is cell.kind:
            joined[-1] = StripCell(joined[-1].start, cell.end, cell.kind)
        else:
            joined.append(cell)
    return joined
