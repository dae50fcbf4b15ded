"""An origin and an edge as processes, on a directory or on S3, and a way to type at them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit.object_storage.s3_settings import S3Settings
from playhead.roles import Finished, Role, run
from tests.servers.ports import free_ports

S3_SETTINGS = ["bucket", "prefix", "endpoint_url", "region", "addressing"]
S3_SETTINGS += ["access_key_id", "secret_access_key"]


@dataclass
class Platform:
    """An origin and an edge, and how to type a command at them."""

    folder: Path
    storage: list[str]
    origin: Role
    edge: Role

    def type(self, *words: str | Path) -> Finished:
        return run([*self.storage, *words], scratch=self.folder)

    def push(self, build: Path, version: str) -> Finished:
        return self.type(
            "push", build, "--title", "game", "--version", version, "--channel", "live", "--json"
        )

    def console(self, verb: str, *words: str | Path) -> Finished:
        return self.type(verb, *words, "--edge", self.edge.url, "--json")


@contextmanager
def running_platform(folder: Path, s3: S3Settings | None = None, *more: str) -> Iterator[Platform]:
    """Start both below ``folder``; without ``s3`` titles are kept in a directory there."""
    folder.mkdir(exist_ok=True)
    settings = [f"data={folder / 'data'}", "log_json=true", "edge.head_fresh_for=0s"]
    [port] = free_ports(1)
    settings += [f"origin.listen.port={port}", "edge.listen.port=0"]
    settings += ["accounts.poll_every=0.2s"]
    settings += [f"edge.upstreams=http://127.0.0.1:{port}"]
    settings += more
    if s3 is not None:
        settings += [f"storage.s3.{name}={getattr(s3, name)}" for name in S3_SETTINGS]
    flags = [f"--set={setting}" for setting in settings]
    origin = Role("origin", [*flags, "serve", "origin"], folder / "origin.log")
    edge = Role("edge", [*flags, "serve", "edge"], folder / "edge.log")
    try:
        origin.start()
        edge.start()
        yield Platform(folder, flags, origin, edge)
    finally:
        edge.kill()
        origin.kill()
