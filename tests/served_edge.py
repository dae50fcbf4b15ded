"""Edges as ``playhead serve edge`` runs them, with workers or without, and how to ask them."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from kit.clock import SystemClock
from kit.key_ring import RingKey
from kit.key_ring_file import KeyRingFile
from manifests.lease import HEADER, TOKEN_ID_SIZE, Lease, Subject, encode_lease
from tests.polling import eventually
from tests.titles import TITLE


@dataclass
class ServedEdge:
    """One edge: a supervisor with its workers, or one process."""

    child: asyncio.subprocess.Process
    _key: RingKey
    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    """What it logged so far."""

    async def until(self, is_so: Callable[[], bool], within_s: float = 20) -> None:
        async def probe() -> bool:
            return is_so()

        await eventually(probe, within_s=within_s)

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each.get("event") == event]

    def pid_of(self, worker: int) -> int:
        """The process of a worker, as it was started last."""
        return int([e["pid"] for e in self.logged("worker.started") if e["worker"] == worker][-1])

    def lease_of(self, console: int) -> dict[str, str]:
        """Return the header by which a console is let in; each is a player of its own."""
        now_s, token_id = int(time.time()), secrets.token_bytes(TOKEN_ID_SIZE)
        subject = Subject(f"player-{console}")
        lease = Lease(subject, TITLE, now_s, now_s + 900, now_s * 1000, token_id)
        return {HEADER: encode_lease(lease, self._key.key_id, self._key.raw_key)}

    async def fetch(self, session: aiohttp.ClientSession, path: str, console: int = 0) -> bytes:
        """Ask with a lease; what is broken off is asked for again, as a console does."""
        headers = self.lease_of(console)
        for _ in range(5):
            try:
                async with session.get(self.url + path, headers=headers) as reply:
                    body = await reply.read()
                    assert reply.status == 200, (reply.status, body)
                    return body
            except aiohttp.ClientError:
                continue
        raise AssertionError(f"{path}: broken off five times")

    async def metrics(self, session: aiohttp.ClientSession) -> dict[str, float]:
        """Return every sample, by its name and labels as they are written."""
        async with session.get(self.url + "/metrics") as reply:
            lines = (await reply.text()).splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def is_running(self, pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"

    async def ended(self, within_s: float = 20) -> int:
        async with asyncio.timeout(within_s):
            return await self.child.wait()


@asynccontextmanager
async def starting_edge(folder: Path, *settings: str) -> AsyncIterator[ServedEdge]:
    """Start an edge below ``folder``; killed at the end, if it still runs."""
    words = [f"--set={word}" for word in (f"data={folder}", "log_json=true", *settings)]
    child = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "playhead", *words, "serve", "edge"],
        stderr=asyncio.subprocess.PIPE,
        # The variables by which tests are told something are no settings of an edge.
        env={name: value for name, value in os.environ.items() if "PLAYHEAD_" not in name},
    )
    edge = ServedEdge(child, await asyncio.to_thread(key_in, folder / "keys" / "leases.json"))
    reading = asyncio.create_task(_read(child, edge.events))
    try:
        yield edge
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGKILL)
        await child.wait()
        await reading  # its end is that of the last worker


@asynccontextmanager
async def running_served_edge(
    folder: Path, upstream: str, *settings: str, workers: int = 0
) -> AsyncIterator[ServedEdge]:
    """Run an edge until the block is left; it listens, with all its workers."""
    chosen = [f"edge.upstreams={upstream}", f"edge.workers={workers}"]
    if not any(word.startswith("edge.listen.port") for word in settings):
        chosen.append("edge.listen.port=0")
    async with starting_edge(folder, *chosen, *settings) as edge:
        awaited = "workers.ready" if workers else "listening"
        await edge.until(
            lambda: bool(edge.logged(awaited)) or edge.child.returncode is not None, within_s=60
        )
        assert edge.child.returncode is None, edge.events
        edge.url = edge.logged("listening")[0]["url"]
        yield edge


async def _read(child: asyncio.subprocess.Process, events: list[dict[str, Any]]) -> None:
    assert child.stderr is not None
    async for line in child.stderr:
        if line.startswith(b"{"):
            events.append(json.loads(line))
        else:
            events.append({"event": "text", "text": line.decode()})


def key_in(keys: Path) -> RingKey:
    """Return the key by which nodes with these keys let in; made, if there is none."""
    return KeyRingFile(keys, SystemClock()).signing()
