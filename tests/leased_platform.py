"""Every role that leases need as a process, and a console that gets its leases from a service."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from manifests.lease import HEADER
from playhead.roles import Finished, Role, command, run
from tests.polling import eventually_sync
from tests.servers.ports import free_ports

TITLE = "game"


@dataclass
class LeasedPlatform:
    """An entitlement service, an origin, two edges, and how to type at them."""

    folder: Path
    flags: list[str]
    entitlement: Role
    origin: Role
    edges: list[Role]

    def type(self, *words: str | Path) -> Finished:
        return run([*self.flags, *words], scratch=self.folder)

    def publish(self, size: int) -> Path:
        """Push a build of ``size`` bytes that compress to no less; return its folder."""
        build = self.folder / "build"
        build.mkdir()
        (build / "level").write_bytes(Random(4).randbytes(size))
        pushed = self.type("push", build, "--title", TITLE, "--version", "1", "--channel", "live")
        assert pushed.exit_code == 0, pushed.errors
        return build

    @contextmanager
    def downloading(self, into: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Install in the background; killed if it still runs at the end."""
        words = command([*self.install_words(into), *options], self.folder / "peak")
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            try:
                yield child
            finally:
                child.kill()

    def install_words(self, into: Path) -> Sequence[str | Path]:
        """Install by leases of the service, through both edges."""
        url = f"console.entitlement.url={self.entitlement.url}"
        edges = [word for edge in self.edges for word in ("--edge", edge.url)]
        return [*self.flags, f"--set={url}", "install", TITLE, into, *edges, "--json"]

    def has_content(self, into: Path) -> bool:
        """Tell whether a download got some of the title's bytes."""
        return any(
            path.stat().st_blocks * 512 > 1 << 19 for path in into.rglob("*") if path.is_file()
        )

    def post(self, path: str, whose: str, **content: str) -> tuple[int, dict[str, object]]:
        """Ask the service, as ``player`` or ``operator``; return status and answer."""
        bearer = (self.folder / "data" / "keys" / f"{whose}.token").read_text().strip()
        request = urllib.request.Request(
            self.entitlement.url + path,
            data=json.dumps(content).encode(),
            headers={"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def status_with(self, lease: str) -> int:
        """Ask an edge for content with ``lease``; return the status."""
        [bundle, *_] = (self.folder / "data" / "objects" / "t" / TITLE / "b").iterdir()
        url = f"{self.edges[0].url}/t/{TITLE}/b/{bundle.name}/slices"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers={HEADER: lease}), timeout=10
            ) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def metric(self, role: Role, name: str) -> float:
        """Return what a metric of a role stands at; 0 if it was never touched."""
        with urllib.request.urlopen(f"{role.url}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        found = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")]
        return float(found[0]) if found else 0.0

    def wait_until_heard(self) -> None:
        """Return once all nodes listen to the service."""
        eventually_sync(
            lambda: self.metric(self.entitlement, "playhead_entitlement_listeners") == 3,
            within_s=20,
        )


@contextmanager
def running_leased_platform(folder: Path, *settings: str) -> Iterator[LeasedPlatform]:
    """Start all below ``folder``."""
    [entitlement, origin] = free_ports(2)
    chosen = [
        f"data={folder / 'data'}",
        "log_json=true",
        # One small request after the other: what is under way when a lease ends is finished.
        "console.requests_at_once=1",
        "console.range_bytes_max=1MiB",
        f"entitlement.listen.port={entitlement}",
        f"origin.listen.port={origin}",
        "edge.listen.port=0",
        f"edge.upstreams=http://127.0.0.1:{origin}",
        f"leases.feed=http://127.0.0.1:{entitlement}",
        *settings,
    ]
    flags = [f"--set={setting}" for setting in chosen]
    roles = [
        Role("entitlement", [*flags, "serve", "entitlement"], folder / "entitlement.log"),
        Role("origin", [*flags, "serve", "origin"], folder / "origin.log"),
        *(
            Role(
                name,
                [*flags, f"--set=edge.cache_dir={name}", "serve", "edge"],
                folder / f"{name}.log",
            )
            for name in ("edge-1", "edge-2")
        ),
    ]
    with ExitStack() as running:
        for role in roles:
            running.callback(role.kill)
            role.start()
        yield LeasedPlatform(folder, flags, roles[0], roles[1], roles[2:])
