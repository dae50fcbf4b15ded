"""Our side of an update: the whole product as processes, as a publisher and a player would use it.

The figures are kept beside the peers', so that a table can be made without measuring all again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from playhead.stage import Figures, Stage

TITLE = "bench"


class Making(msgspec.Struct, frozen=True, kw_only=True):
    """What the deltas from one release to the next cost the publisher; sizes in bytes."""

    count: int = 0
    size: int = 0
    target_size: int = 0
    """Plain bytes of the chunks they make."""
    cpu_s: float = 0.0
    seconds: float = 0.0
    peak_rss_bytes: int = 0
    """Of the publisher, all pushes so far."""


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """What an update cost the player, and what one costs that finds nothing to do; in bytes."""

    received_bytes: int
    """Bodies of every request: heads, manifests, delta index, deltas, chunks."""
    requests: int
    plan_bytes: int
    """What the plan said of deltas and chunks, gaps included; manifests come before the plan."""
    deltas: int
    failed_deltas: int
    patched_bytes: int
    written_bytes: int
    seconds: float
    cpu_s: float
    peak_rss_bytes: int
    idle_cpu_s: float
    idle_peak_rss_bytes: int


class PairUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of one pair of builds."""

    making: Making
    update: Update
    plain_peak_rss_bytes: int
    """Of a console that makes the same update without deltas."""


class ChainUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """From the first release of three to the last, by what is made by default and otherwise."""

    steps: list[Update]
    """One release after the other, on a console that takes each."""
    by_default: Update
    by_default_making: Making
    """Of the set from the first release: all zero if none was made."""
    chained: Update
    """By the steps' sets alone."""
    dedicated: Update
    """By a set made for it from scratch."""
    dedicated_making: Making


Kept = TypeVar("Kept", PairUpdate, ChainUpdate)


def update_pair(scratch: Path, old: Path, new: Path, say: Callable[[str], None]) -> PairUpdate:
    """Publish and install ``old``, publish ``new`` with deltas, update, compare byte for byte."""
    stage = _stage(scratch, say)
    with stage.serving():
        stage.push(old, "1", "--wait-deltas")
        installed, plain = (_install(stage, name) for name in ("console", "plain"))
        (made,) = stage.push(new, "2", "--wait-deltas")["deltas"]
        making = _making(stage, made)
        update = _update(stage, installed, new)
        _, _, plain_peak = _console(stage, plain, "--set=console.use_deltas=false")
    return PairUpdate(making=making, update=update, plain_peak_rss_bytes=plain_peak)


def update_chain(scratch: Path, builds: Sequence[Path], say: Callable[[str], None]) -> ChainUpdate:
    """Publish three releases, twice; update from the first to the last in three ways."""
    first, *later = builds
    stage = _stage(scratch / "by default", say)
    with stage.serving():
        stage.push(first, "1", "--wait-deltas")
        faithful, late = (_install(stage, name) for name in ("faithful", "late"))
        steps, made = [], None
        for number, build in enumerate(later):
            made = stage.push(build, str(number + 2), "--wait-deltas")["deltas"][-1]
            steps.append(_update(stage, faithful, build))
        by_default = _update(stage, late, later[-1])
        by_default_making = _making(stage, made)
    stage = _stage(scratch / "in steps", say)
    with stage.serving():
        stage.push(first, "1", "--no-deltas")
        late, last = (_install(stage, name) for name in ("late", "last"))
        for number, build in enumerate(later, start=1):
            stage.push(build, str(number + 1), "--no-deltas")
            _add(stage, number, number + 1)
        chained = _update(stage, late, later[-1])
        dedicated_making = _making(stage, _add(stage, 1, len(builds)))
        dedicated = _update(stage, last, later[-1])
    return ChainUpdate(
        steps=steps,
        by_default=by_default,
        by_default_making=by_default_making,
        chained=chained,
        dedicated=dedicated,
        dedicated_making=dedicated_making,
    )


def kept(
    file: Path, kind: type[Kept], key: str, work: Callable[[Path], Kept] | None
) -> Kept | None:
    """Return what ``work`` measures and keep it in ``file``; without ``work``, what was kept."""
    found: dict[str, Kept] = {}
    if file.exists():
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, kind])  # type: ignore[valid-type]
    if work is None:
        return found.get(key)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".ours-") as scratch:
        found[key] = work(Path(scratch))
    file.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return found[key]


def _add(stage: Stage, base: int, target: int) -> Figures:
    """Make one delta set from scratch, whatever others there are."""
    words = ("deltas", "add", TITLE, "--from", f"@{base}", "--to", f"@{target}")
    made: Any = stage.publisher(*words)
    report: Figures = made[0]
    return report


def _stage(scratch: Path, say: Callable[[str], None]) -> Stage:
    stage = Stage(scratch / "stage", TITLE, say)
    stage.clear()
    return stage


def _install(stage: Stage, name: str) -> Path:
    folder = stage.folder / name
    stage.console("install", TITLE, folder)
    return folder


def _update(stage: Stage, installed: Path, build: Path) -> Update:
    report, cpu_s, peak = _console(stage, installed)
    stage.compare(build, installed)
    _, idle_cpu_s, idle_peak = _console(stage, installed)
    return Update(
        received_bytes=report["received_bytes"],
        requests=report["requests"],
        plan_bytes=report["plan"]["download_bytes"],
        deltas=report["plan"]["deltas"],
        failed_deltas=report["failed_deltas"],
        patched_bytes=report["delta_made_bytes"],
        written_bytes=report["written_bytes"],
        seconds=report["complete_s"],
        cpu_s=cpu_s,
        peak_rss_bytes=peak,
        idle_cpu_s=idle_cpu_s,
        idle_peak_rss_bytes=idle_peak,
    )


def _console(stage: Stage, installed: Path, *settings: str) -> tuple[Figures, float, int]:
    """Return the report of one update, its CPU seconds and its peak memory."""
    stage.peak_rss_bytes.pop("console", None)
    before = os.times()
    report = stage.console("update", installed, settings=settings)
    after = os.times()
    # Of children that have ended: the servers have not.
    cpu_s = after.children_user + after.children_system
    cpu_s -= before.children_user + before.children_system
    return report, cpu_s, stage.peak_rss_bytes["console"]


def _making(stage: Stage, report: dict[str, Any] | None) -> Making:
    peak = stage.peak_rss_bytes["packager"]
    if report is None:
        return Making(peak_rss_bytes=peak)
    return Making(
        count=report["count"],
        size=report["size"],
        target_size=report["target_size"],
        cpu_s=report["cpu_seconds"],
        seconds=report["seconds"],
        peak_rss_bytes=peak,
    )
