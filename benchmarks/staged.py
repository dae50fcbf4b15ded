"""A published build, an origin and edges as operators run them, for benchmarks of load."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.synthetic import write_build
from chunks.slices import SLICE_SIZE
from kit.clock import SystemClock
from kit.http_client import HttpClient
from kit.key_ring_file import KeyRingFile
from manifests.lease import HEADER, TOKEN_ID_SIZE, Lease, Subject, encode_lease
from manifests.names import TitleId
from playhead.leases import lease_source
from playhead.roles import Role, run
from playhead.settings import Settings
from tests.servers.ports import free_ports

TITLE = TitleId("bench")


@dataclass(frozen=True, slots=True)
class Staged:
    """A build that was published below ``scratch``, and the origin that has it."""

    scratch: Path
    origin_url: str
    origin_pid: int
    lease: str
    bundles: dict[str, int]
    """Sizes by name."""

    def slices(self) -> list[str]:
        """Return the paths of all whole slices."""
        return [
            f"/t/{TITLE}/b/{name}/{index}"
            for name, size in self.bundles.items()
            for index in range(size // SLICE_SIZE)
        ]

    def spans(self, size: int, every: int) -> list[tuple[str, str]]:
        """Return paths and ``Range`` of spans of ``size`` bytes, one of each ``every``."""
        return [
            (f"/t/{TITLE}/b/{name}", f"bytes={start}-{start + size - 1}")
            for name, whole in self.bundles.items()
            for start in range(0, whole - size + 1, size * every)
        ]

    def leases(self, count: int) -> list[str]:
        """Return leases of so many players."""
        key = KeyRingFile(self.scratch / "data" / "keys" / "leases.json", SystemClock()).signing()
        now_s, found = int(time.time()), []
        for number in range(count):
            token_id = secrets.token_bytes(TOKEN_ID_SIZE)
            subject = Subject(f"player-{number}")
            lease = Lease(subject, TITLE, now_s, now_s + 900, now_s * 1000, token_id)
            found.append(encode_lease(lease, key.key_id, key.raw_key))
        return found

    def request(
        self, path: str, span: str = "", *, method: str = "GET", body: bytes = b"", lease: str = ""
    ) -> bytes:
        """Return a request as a console sends it."""
        lines = [f"{method} {path} HTTP/1.1", "Host: edge", f"{HEADER}: {lease or self.lease}"]
        lines += [f"Range: {span}"] if span else []
        lines += [f"Content-Length: {len(body)}"] if body else []
        return "\r\n".join([*lines, "", ""]).encode() + body

    @contextmanager
    def edge(self, name: str, *flags: str) -> Iterator[Role]:
        """Run an edge until the block is left."""
        words = [
            f"edge.upstreams={self.origin_url}",
            "edge.listen.port=0",
            f"edge.cache_dir={name}",
        ]
        role = _role(self.scratch, "edge", f"{name}.log", [*words, *flags])
        try:
            role.start()
            yield role
        finally:
            role.kill()


@contextmanager
def staged(scratch: Path, build_size: int) -> Iterator[Staged]:
    """Publish a build of ``build_size`` bytes, and run an origin until the block is left."""
    data, build = scratch / "data", scratch / "build"
    write_build(build, build_size, max(4, build_size // 500_000))
    words: list[str | Path] = ["push", build, "--title", TITLE, "--version", "1"]
    done = run([f"--set=data={data}", *words, "--channel", "live"], scratch=scratch)
    if done.exit_code:
        raise RuntimeError(f"push: {done.errors[-800:]}")
    bundles = {
        path.name: path.stat().st_size for path in (data / "objects" / "t" / TITLE / "b").iterdir()
    }
    [port] = free_ports(1)
    origin = _role(scratch, "origin", "origin.log", [f"origin.listen.port={port}"])
    try:
        origin.start()
        yield Staged(scratch, origin.url, origin.pid, asyncio.run(_lease(data)), bundles)
    finally:
        origin.kill()


def _role(scratch: Path, role: str, log: str, flags: Sequence[str]) -> Role:
    words = [f"data={scratch / 'data'}", "log_json=true", *flags]
    return Role(role, [*(f"--set={word}" for word in words), "serve", role], scratch / log)


async def _lease(data: Path) -> str:
    settings = Settings(data=data)
    async with HttpClient(settings.console.http) as http:
        return (await lease_source(settings, http).lease(TITLE)).token
