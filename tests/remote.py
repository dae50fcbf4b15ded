"""Publishers on machines of their own: each with its folder, logged in at a platform's origin."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from playhead.roles import Finished, command, run
from tests.platform import Platform
from tests.polling import eventually_sync

LIVE = ("live",)


@dataclass
class Publisher:
    """A machine that publishes; it shares nothing with the platform but the network."""

    name: str
    folder: Path
    origin_url: str

    @property
    def settings(self) -> list[str]:
        return [
            f"--set=data={self.folder / 'data'}",
            f"--set=packager.credentials_dir={self.folder / 'config'}",
            "--set=storage.retries.pause_max=0.2s",
        ]

    def type(self, *words: str | Path) -> Finished:
        return run([*self.settings, *words], scratch=self.folder)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command([*self.settings, *words], self.folder / "peak"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def push_words(self, build: Path, version: str, *words: str, title: str) -> list[str | Path]:
        base: list[str | Path] = ["push", build, "--title", title, "--version", version]
        return [*base, "--channel", "live", "--json", *words]

    def push(self, build: Path, version: str, *words: str, title: str) -> Finished:
        return self.type(*self.push_words(build, version, *words, title=title))

    @property
    def credentials_file(self) -> Path:
        (found,) = [p for p in (self.folder / "config").glob("*.json") if "127.0.0.1" in p.name]
        return found


def log_in(
    platform: Platform,
    folder: Path,
    name: str,
    *titles: str,
    channels: tuple[str, ...] = LIVE,
    approval: tuple[str, ...] = (),
) -> Publisher:
    """Log a new machine in, as its person and the platform's operator would."""
    folder.mkdir(exist_ok=True)
    publisher = Publisher(name, folder, platform.origin.url)
    log = folder / "login.log"
    with log.open("w") as out:
        login = subprocess.Popen(
            command([*publisher.settings, "login", publisher.origin_url], folder / "peak"),
            stdout=out,
            stderr=out,
        )
        try:
            eventually_sync(lambda: "code" in log.read_text() or login.poll() is not None)
            found = re.search(r"code +([A-Z]{4}-[A-Z]{4})", log.read_text())
            assert found is not None, log.read_text()
            words = [w for title in titles for w in ("--title", title)]
            words += [w for channel in channels for w in ("--channel", channel)]
            approved = platform.type(
                "publishers", "approve", found[1], "--publisher", name, *words, *approval, "--json"
            )
            assert approved.exit_code == 0, approved.errors
            assert login.wait(30) == 0, log.read_text()
        finally:
            login.kill()
            login.wait()
    return publisher
