"""The whole product in one go: publish, serve, install, update, compare; every role a process.

What ``make demo`` runs. Nothing in here is a shortcut: it types the commands that a publisher, an
operator and a player would type, and measures them from outside.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit.errors import IntegrityError, NotFound
from playhead import demo_builds, trees
from playhead.roles import Role, run

TITLE = "demo"

Say = Callable[[str], None]
Figures = dict[str, Any]


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
    return _Demo(folder / "run", say).play(old.resolve(), new.resolve())


def _fetched(build: demo_builds.DemoBuild, folder: Path, say: Say) -> Path:
    say(f"fetch    panda3d {build.version}")
    return demo_builds.fetch(build, folder / "builds")


@dataclass
class _Demo:
    """One run: a folder of its own, an origin, an edge, a publisher and a console."""

    folder: Path
    say: Say
    peak_rss_bytes: dict[str, int] = field(default_factory=dict)

    def play(self, old: Path, new: Path) -> DemoReport:
        """Publish and install ``old``, publish and update to ``new``, compare both times."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        with self._serving() as edge_url:
            old_push = self._push(old, "1")
            install = self._console("install", edge_url, TITLE, self._installed)
            self._compare(old)
            new_push = self._push(new, "2")
            update = self._console("update", edge_url, self._installed)
            self._compare(new)
        return DemoReport(
            old_build_bytes=trees.size_of(old),
            new_build_bytes=trees.size_of(new),
            old_push=old_push,
            new_push=new_push,
            install=install,
            update=update,
            peak_rss_bytes=self.peak_rss_bytes,
            identical=True,
        )

    @property
    def _installed(self) -> Path:
        return self.folder / "console"

    @contextmanager
    def _serving(self) -> Iterator[str]:
        origin = self._role("origin", "--set=origin.listen.port=0")
        try:
            origin.start()
            edge = self._role(
                "edge",
                "--set=edge.listen.port=0",
                f"--set=edge.upstreams={origin.url}",
                # What a console sees after a push is otherwise up to this old.
                "--set=edge.head_fresh_for=0s",
            )
            try:
                edge.start()
                self.say(f"serve    origin {origin.url}, edge {edge.url}")
                yield edge.url
                edge.stop()
                self.peak_rss_bytes["edge"] = edge.peak_rss_bytes
            finally:
                edge.kill()
            origin.stop()
            self.peak_rss_bytes["origin"] = origin.peak_rss_bytes
        finally:
            origin.kill()

    def _role(self, name: str, *settings: str) -> Role:
        words = [*self._common(), "--set=log_json=true", *settings, "serve", name]
        return Role(name, words, self.folder / f"{name}.log")

    def _push(self, build: Path, version: str) -> Figures:
        self.say(f"push     {build.name} as version {version}")
        started = time.monotonic()
        words: list[str | Path] = [
            "push",
            build,
            "--title",
            TITLE,
            "--version",
            version,
            "--channel",
            "live",
        ]
        report = self._run("packager", *words, "--json")
        return {**report, "seconds": round(time.monotonic() - started, 3)}

    def _console(self, verb: str, edge_url: str, *words: str | Path) -> Figures:
        self.say(f"{verb:8s} through the edge")
        return self._run("console", verb, *words, "--edge", edge_url, "--json")

    def _run(self, role: str, *words: str | Path) -> Figures:
        done = run([*self._common(), *words], scratch=self.folder)
        self.peak_rss_bytes[role] = max(self.peak_rss_bytes.get(role, 0), done.peak_rss_bytes)
        return done.last_json()

    def _compare(self, build: Path) -> None:
        found = list(trees.differences(build, self._installed))
        if found:
            raise IntegrityError(
                f"{len(found)} entries differ from {build}: {'; '.join(found[:5])}"
            )
        self.say(f"compare  identical to {build.name}")

    def _common(self) -> list[str]:
        return [f"--set=data={self.folder / 'data'}"]
