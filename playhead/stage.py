"""Every role as a process on this machine, in one folder: what the demo and benchmarks play on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit.errors import IntegrityError
from playhead import trees
from playhead.roles import Role, run

Say = Callable[[str], None]
Figures = dict[str, Any]


@dataclass
class Stage:
    """A folder of its own, an origin, an edge, a publisher and consoles; emptied by ``clear``."""

    folder: Path
    title: str
    say: Say
    peak_rss_bytes: dict[str, int] = field(default_factory=dict)
    """The most each role has held so far, in bytes; of servers, once they have stopped."""
    edge_url: str = ""

    def clear(self) -> None:
        """Begin with nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Run an origin and an edge for the time being."""
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
                self.edge_url = edge.url
                yield
                edge.stop()
                self.peak_rss_bytes["edge"] = edge.peak_rss_bytes
            finally:
                edge.kill()
            origin.stop()
            self.peak_rss_bytes["origin"] = origin.peak_rss_bytes
        finally:
            origin.kill()

    def push(self, build: Path, version: str, *options: str) -> Figures:
        """Publish ``build`` to the channel ``live``; return the push's report."""
        self.say(f"push     {build.name} as version {version}")
        words: list[str | Path] = ["push", build, "--title", self.title, "--version", version]
        return self.publisher(*words, "--channel", "live", *options)

    def publisher(self, *words: str | Path) -> Figures:
        """Run a publisher's command; return its report."""
        return self._run("packager", *words, "--json")

    def console(self, verb: str, *words: str | Path, settings: Sequence[str] = ()) -> Figures:
        """Run a player's command against the edge; return its report."""
        self.say(f"{verb:8s} through the edge")
        return self._run("console", *settings, verb, *words, "--edge", self.edge_url, "--json")

    def compare(self, build: Path, installed: Path) -> None:
        """See to it that both trees are the same.

        Raises:
            IntegrityError: They are not.
        """
        found = list(trees.differences(build, installed))
        if found:
            raise IntegrityError(
                f"{len(found)} entries differ from {build}: {'; '.join(found[:5])}"
            )
        self.say(f"compare  identical to {build.name}")

    def _role(self, name: str, *settings: str) -> Role:
        words = [*self._common(), "--set=log_json=true", *settings, "serve", name]
        return Role(name, words, self.folder / f"{name}.log")

    def _run(self, role: str, *words: str | Path) -> Figures:
        done = run([*self._common(), *words], scratch=self.folder)
        self.peak_rss_bytes[role] = max(self.peak_rss_bytes.get(role, 0), done.peak_rss_bytes)
        return done.last_json()

    def _common(self) -> list[str]:
        return [f"--set=data={self.folder / 'data'}"]
