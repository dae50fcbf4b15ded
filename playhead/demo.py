"""The whole product in one go: publish, serve, install, update, compare; every role a process.

What ``make demo`` runs. Nothing in here is a shortcut: it types the commands that a publisher, an
operator and a player would type, and measures them from outside.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from kit.errors import NotFound
from playhead import demo_builds, trees
from playhead.stage import Figures, Say, Stage
from playhead.wheels import Wheel

TITLE = "demo"


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The demo's figures, and the largest memory of each role in bytes."""

    old_build_bytes: int
    new_build_bytes: int
    old_push: Figures
    new_push: Figures
    install: Figures
    update: Figures
    peak_rss_bytes: dict[str, int]
    identical: bool

    def figures(self) -> Figures:
        """Return what the last line of the demo says to machines."""
        stored = int(self.old_push["uploaded_size"])
        return {
            "build_bytes": self.old_build_bytes,
            "new_build_bytes": self.new_build_bytes,
            "stored_bytes": stored,
            "new_stored_bytes": stored + int(self.new_push["uploaded_size"]),
            "install_bytes": self.install["received_bytes"],
            "update_bytes": self.update["received_bytes"],
            "install_requests": self.install["requests"],
            "update_requests": self.update["requests"],
            "first_chunk_s": self.install["first_chunk_s"],
            "playable_s": self.install["playable_s"],
            "complete_s": self.install["complete_s"],
            "update_s": self.update["complete_s"],
            "push_s": self.old_push["seconds"],
            "new_push_s": self.new_push["seconds"],
            "peak_rss_bytes": self.peak_rss_bytes,
            "identical": self.identical,
        }


def run_demo(folder: Path, old: Path | None, new: Path | None, say: Say) -> DemoReport:
    """Run the demo below ``folder``, on two folders or, by default, on two fetched releases.

    Raises:
        IntegrityError: An installed tree is not the published one.
    """
    old = old or _fetched(demo_builds.OLD, folder, say)
    new = new or _fetched(demo_builds.NEW, folder, say)
    for build in (old, new):
        if not build.is_dir():
            raise NotFound(f"{build} is not a folder")
    return _Demo(Stage(folder / "run", TITLE, say)).play(old.resolve(), new.resolve())


def _fetched(build: Wheel, folder: Path, say: Say) -> Path:
    say(f"fetch    {build.name} {build.version}")
    return demo_builds.fetch(build, folder / "builds")


@dataclass(frozen=True, slots=True)
class _Demo:
    """One run on a stage."""

    stage: Stage

    def play(self, old: Path, new: Path) -> DemoReport:
        """Publish and install ``old``, publish and update to ``new``, compare both times."""
        stage, installed = self.stage, self.stage.folder / "console"
        stage.clear()
        with stage.serving():
            old_push = self._push(old, "1")
            install = stage.console("install", TITLE, installed)
            stage.compare(old, installed)
            new_push = self._push(new, "2")
            update = stage.console("update", installed)
            stage.compare(new, installed)
        return DemoReport(
            old_build_bytes=trees.size_of(old),
            new_build_bytes=trees.size_of(new),
            old_push=old_push,
            new_push=new_push,
            install=install,
            update=update,
            peak_rss_bytes=stage.peak_rss_bytes,
            identical=True,
        )

    def _push(self, build: Path, version: str) -> Figures:
        started = time.monotonic()
        report = self.stage.push(build, version)
        return {**report, "seconds": round(time.monotonic() - started, 3)}
