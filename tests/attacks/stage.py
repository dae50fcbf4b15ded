"""Where attacks take place: an origin, an edge and mirrors that may turn, each a real server.

::

    console --- front (a mirror) --- edge --- upstream (a mirror) --- origin --- storage

Titles are published straight into the origin's storage, by whoever has its keys: so a test may be
the platform, a publisher, a mirror, a client or a console's neighbour. Each test has a title of its
own, and finds both servers well at its end (``conftest.py``).
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from kit.clock import Clock, SystemClock
from manifests.documents import Head, ObjectRef, Release
from manifests.lease import HEADER, LIFETIME_S, Lease, Subject, encode_lease
from manifests.names import Channel, TitleId, Version
from playhead.lease_files import lease_keys
from playhead.publishing import Desk, publisher
from playhead.roles import Finished, Role, run
from playhead.settings import Settings
from tests.attacks.mirror import Mirror, running_mirror
from tests.publishing import store_build

LIVE = Channel("live")
Files = Mapping[str, bytes]
T = TypeVar("T")

IMPATIENT = (
    "console.give_up_after=1s",
    "console.penalty=0.05s",
    "console.penalty_max=0.1s",
    "console.http.stall_after=1s",
)
"""A console that has nobody honest to turn to says so after a second."""

OLD: Files = {
    "game.bin": b"the first build " * 4000,
    "readme.txt": b"one",
    "data/a.pak": b"a" * 999,
}
NEW: Files = {"game.bin": b"the next build " * 4000, "readme.txt": b"two", "data/a.pak": b"a" * 999}


@dataclass
class Stage:
    """Two servers, two mirrors, a storage, and how to type a command at them."""

    folder: Path
    flags: list[str]
    origin: Role
    edge: Role
    upstream: Mirror
    front: Mirror
    settings: Settings
    clock: Clock = field(default_factory=SystemClock)
    used_titles: list[TitleId] = field(default_factory=list)

    def new_title(self) -> TitleId:
        title = TitleId(f"title-{len(self.used_titles)}")
        self.used_titles.append(title)
        return title

    @property
    def objects(self) -> Path:
        """The origin's storage: a file for every object, at its key."""
        return self.folder / "data" / "objects"

    def publish(self, title: TitleId, files: Files) -> Release:
        """Publish ``files`` as the next release, and let everybody vouch for it who must."""

        async def work(desk: Desk) -> Release:
            return await vouched_release(desk, await store_build(desk.store, files))

        return self.at_desk(title, work)

    def publish_root(self, title: TitleId, root: ObjectRef) -> Release:
        """Publish whatever ``root`` is; a publisher's signature says nothing of its sense."""

        async def work(desk: Desk) -> Release:
            return await vouched_release(desk, root)

        return self.at_desk(title, work)

    def at_desk(self, title: TitleId, work: Callable[[Desk], Awaitable[T]]) -> T:
        """Do a publisher's work, with the keys of this machine."""

        async def run_it() -> T:
            async with publisher(self.settings, title, lambda _: None) as desk:
                return await work(desk)

        return asyncio.run(run_it())

    def type(self, *words: str | Path, settings: Sequence[str] = ()) -> Finished:
        flags = [*self.flags, *(f"--set={setting}" for setting in settings)]
        return run([*flags, *words], scratch=self.folder)

    def console(
        self,
        verb: str,
        *words: str | Path,
        edges: Sequence[str] | None = None,
        settings: Sequence[str] = (),
    ) -> Finished:
        """Run a player's command through the mirror in front of the edge, or through ``edges``."""
        named = [word for url in edges or [self.front.url] for word in ("--edge", url)]
        return self.type(verb, *words, *named, "--json", settings=[*IMPATIENT, *settings])

    def console_at(self, verb: str, *words: str | Path, ahead_s: float) -> Finished:
        """Run a player's command on a console whose clock is ahead; a negative one is behind."""
        flags = [*self.flags, *_set(IMPATIENT), verb, *words, "--edge", self.front.url, "--json"]
        command = [sys.executable, "-m", "tests.attacks.console_child", str(ahead_s)]
        done = subprocess.run(
            [*command, *map(str, flags)], capture_output=True, text=True, check=False
        )
        return Finished(done.returncode, done.stdout, done.stderr, 0)

    def installed(self, title: TitleId, folder: Path, files: Files = OLD) -> Path:
        """Publish ``files`` and install them: what an attack on a player begins with."""
        self.publish(title, files)
        self.console("install", title, folder).last_json()
        assert content_of(folder) == files
        return folder

    def lease(self, title: TitleId, player: str = "local") -> dict[str, str]:
        """Return the header that opens ``title`` for a player who owns it."""
        return {HEADER: self.minted(title, player)}

    def minted(
        self,
        title: TitleId | None,
        player: str = "local",
        *,
        ago_s: float = 0.0,
        lasts_s: int = LIFETIME_S,
        key: bytes | None = None,
    ) -> str:
        """Return a lease as the platform mints it; or, with a ``key``, as whoever has that does."""
        clock = SystemClock()
        signing = lease_keys(self.settings, clock).signing()
        minted_at = int(clock.now() - ago_s)
        lease = Lease(
            Subject(player), title, minted_at, minted_at + lasts_s, minted_at * 1000, b"a lease"
        )
        return encode_lease(lease, signing.key_id, key or signing.raw_key)


@dataclass(frozen=True)
class Game:
    """A title that a player has installed."""

    stage: Stage
    title: TitleId
    folder: Path

    def refuses(self, root: ObjectRef, *words: str, exit_code: int | Sequence[int]) -> Finished:
        """Publish ``root``, and everybody vouches; it must be refused, and nothing be lost."""
        before = content_of(self.folder)
        self.stage.publish_root(self.title, root)
        done = self.stage.console("update", self.folder, settings=["console.give_up_after=0.2s"])
        assert_refused(done, *words, exit_code=exit_code)
        assert content_of(self.folder) == before
        return done


@contextmanager
def game_that_stands(stage: Stage, folder: Path) -> Iterator[Game]:
    """Install a game; after all that is done to it, it must be sound and take the next update."""
    title = stage.new_title()
    yield Game(stage, title, stage.installed(title, folder))
    assert content_of(folder) == OLD
    assert stage.type("verify", folder).exit_code == 0
    stage.publish(title, NEW)
    stage.console("update", folder).last_json()
    assert content_of(folder) == NEW


async def vouched_release(desk: Desk, root: ObjectRef, channel: Channel = LIVE) -> Release:
    """Store the next release, which has ``root``, and let ``channel`` play it."""
    counters = await desk.store.release_counters()
    release = Release(
        title=desk.store.title,
        counter=max(counters, default=0) + 1,
        version=Version(f"1.{len(counters)}"),
        created_at="2026-05-04T10:00:00Z",
        root=root,
    )
    assert await desk.store.add_release(release)
    await desk.voucher.vouch(release, channel)
    await desk.store.set_head(Head(title=desk.store.title, channel=channel, release=release))
    return release


def content_of(folder: Path) -> Files:
    """Return what a player has: every file that is the game's, by path."""
    return {
        path: file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not (path := file.relative_to(folder).as_posix()).startswith(".play")
    }


def assert_refused(done: Finished, *words: str, exit_code: int | Sequence[int] = ()) -> None:
    """Hold a command to a refusal that a player can act on: code, and words that name the thing."""
    expected = (exit_code,) if isinstance(exit_code, int) else exit_code
    assert done.exit_code in expected, (done.exit_code, done.errors[-2000:])
    assert done.errors.startswith("playhead: "), done.errors
    assert "Traceback" not in done.errors, done.errors
    for word in words:
        assert word in done.errors, (word, done.errors)


@contextmanager
def running_stage(
    folder: Path, *, edge: Sequence[str] = (), origin: Sequence[str] = ()
) -> Iterator[Stage]:
    """Start everything below ``folder``; ``edge`` and ``origin`` are settings of one of both."""
    data = folder / "data"
    folder.mkdir(exist_ok=True)
    flags = [f"--set=data={data}", "--set=log_json=true"]
    first = _role(
        "origin",
        folder,
        [*flags, *_set(["origin.listen.port=0", "origin.trust.fresh_for=0s", *origin])],
    )
    second: Role | None = None
    try:
        first.start()
        with running_mirror(first.url) as upstream:
            settings = [
                "edge.listen.port=0",
                "edge.head_fresh_for=0s",
                "edge.cool_down_for=0.01s",
                *edge,
            ]
            settings.append(f"edge.upstreams={upstream.url}")
            second = _role("edge", folder, [*flags, *_set(settings)])
            second.start()
            with running_mirror(second.url) as front:
                yield Stage(folder, flags, first, second, upstream, front, Settings(data=data))
    finally:
        if second is not None:
            second.kill()
        first.kill()
        shutil.rmtree(data, ignore_errors=True)


def _set(settings: Sequence[str]) -> list[str]:
    return [f"--set={setting}" for setting in settings]


def _role(name: str, folder: Path, flags: Sequence[str]) -> Role:
    return Role(name, [*flags, "serve", name], folder / f"{name}.log")
