"""A new object that many want at once, from an origin that is far: an edge beside nginx.

The object has 8 MiB; the origin is 50 ms away and gives 2 MB/s a connection. All caches are cold.
nginx fetches whole objects with ``proxy_cache_lock``, or slices of 1 MiB; an edge verifies each
slice before it sends a byte of it, so its first byte of content is later than that of who does not.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.edge_peers import is_installed, running_caching_nginx
from benchmarks.slow_link import Line, Link, laid
from benchmarks.table import parser, show
from chunks.chunk_id import digest_of
from chunks.slices import SLICE_SIZE
from kit.http_client import HttpClient
from manifests import locations
from manifests.lease import HEADER
from playhead.leases import lease_source
from playhead.roles import Role
from playhead.settings import Settings
from tests.titles import TITLE, PublishedTitle, some_title

OBJECT_SIZE = 8 * SLICE_SIZE
ROUND_TRIP_MS = 50.0
LINE = Line(ROUND_TRIP_MS / 1000, 2e6, has_window=False, is_kept=True)
CLIENTS = 20
ROUNDS = 5
DIRECT = "one connection to the origin"
EDGE = "edge"
FIRST_BYTE_GATE_MS = ROUND_TRIP_MS + 100
ORIGIN_BYTES_GATE, SINGLE_GATE = 1.01, 0.5


@dataclass(frozen=True, slots=True)
class Arrival:
    """When an answer came, in seconds since it was asked for."""

    first_s: float
    """Its first byte."""
    content_s: float
    """The first of its content."""
    done_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of one server: the last of all clients."""

    last: Arrival
    origin_bytes_per_byte: float


def main() -> None:
    """Ask every server in turn for objects that it never saw."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = options.parse_args()
    if not is_installed("nginx"):
        raise SystemExit("this benchmark needs nginx: apt-get install nginx-light")
    with tempfile.TemporaryDirectory() as made:
        stage = _Stage(Path(made), chosen.rounds)
        with stage.running() as (link, servers):
            crowds, singles = asyncio.run(_measure(stage, link, servers))
    rows = [
        [
            f"{CLIENTS} clients at once",
            "last first byte, ms",
            "last first content, ms",
            "last done, s",
            "origin bytes per object byte",
            "one client alone: done, s (of one connection)",
        ]
    ]
    rows += [_row(name, crowds.get(name), singles[name], singles[DIRECT]) for name in servers]
    show(
        "cold_fill",
        "python -m benchmarks.cold_fill",
        rows,
        save=chosen.save,
        notes=[f"medians of {chosen.rounds} rounds", *_gates(crowds[EDGE], singles)],
    )


class _Stage:
    """An origin with a few objects, a slow link to it, and the servers behind that."""

    def __init__(self, scratch: Path, rounds: int) -> None:
        self.scratch = scratch
        self.data = scratch / "data"
        # The first round is for connections, and whatever else is done once.
        self.crowd = [self._publish(seed) for seed in range(rounds + 1)]
        self.single = [self._publish(1000 + seed) for seed in range(rounds + 1)]
        self.lease = ""

    @contextmanager
    def running(self) -> Iterator[tuple[Link, dict[str, str]]]:
        """Start all; yield the link, and where each server is."""
        with ExitStack() as stack:
            origin = self._role(stack, "origin", [])
            port = urlsplit(origin.url).port
            assert port is not None
            link = stack.enter_context(laid(LINE, port))
            far = f"http://127.0.0.1:{link.port}"
            servers = {DIRECT: far}
            upstream = f"edge.upstreams={far}"
            servers[EDGE] = self._role(stack, "edge", [upstream, "edge.cache_dir=one"]).url
            words = [upstream, "edge.cache_dir=two", "edge.workers=2"]
            servers["edge, 2 workers"] = self._role(stack, "edge", words).url
            folder = self.scratch / "nginx"
            whole, slices = stack.enter_context(running_caching_nginx(folder, link.port))
            servers["nginx, cache lock"] = whole
            servers["nginx, slices and cache lock"] = slices
            self.lease = asyncio.run(self._lease())
            yield link, servers

    def _publish(self, seed: int) -> PublishedTitle:
        title = some_title(seed=seed, bundle_size=OBJECT_SIZE)
        bundle_id = title.slices.bundle_id
        for key, content in (
            (locations.bundle_key(TITLE, bundle_id), title.bundle),
            (locations.slice_list_key(TITLE, bundle_id), title.slices.encode()),
        ):
            file = self.data / "objects" / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return title

    def _role(self, stack: ExitStack, name: str, flags: Sequence[str]) -> Role:
        words = [f"--set=data={self.data}", "--set=log_json=true", f"--set={name}.listen.port=0"]
        words += [f"--set={flag}" for flag in flags]
        log = self.scratch / f"{len(list(self.scratch.glob('*.log')))}.log"
        role = Role(name, [*words, "serve", name], log)
        stack.callback(role.stop)
        role.start()
        return role

    async def _lease(self) -> str:
        settings = Settings(data=self.data)
        async with HttpClient(settings.console.http) as http:
            return (await lease_source(settings, http).lease(TITLE)).token


async def _measure(
    stage: _Stage, link: Link, servers: dict[str, str]
) -> tuple[dict[str, list[Measured]], dict[str, list[Measured]]]:
    crowds: dict[str, list[Measured]] = defaultdict(list)
    singles: dict[str, list[Measured]] = defaultdict(list)
    for number, (crowd, single) in enumerate(zip(stage.crowd, stage.single, strict=True)):
        for name, url in servers.items():
            alone = await _round(url, single, stage.lease, link, count=1)
            if number > 0:
                singles[name].append(alone)
            if name != DIRECT:
                many = await _round(url, crowd, stage.lease, link, count=CLIENTS)
                if number > 0:
                    crowds[name].append(many)
    return crowds, singles


async def _round(
    url: str, title: PublishedTitle, lease: str, link: Link, *, count: int
) -> Measured:
    link.passed()
    asking = (_ask(url, title, lease) for _ in range(count))
    arrivals = await asyncio.gather(*asking)
    last = Arrival(
        max(each.first_s for each in arrivals),
        max(each.content_s for each in arrivals),
        max(each.done_s for each in arrivals),
    )
    return Measured(last, link.passed().answered_size / OBJECT_SIZE)


async def _ask(url: str, title: PublishedTitle, lease: str) -> Arrival:
    """Fetch the bundle of ``title``, and see to it that it is right."""
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    began = loop.time()
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1 << 20)
    head = f"GET {title.bundle_address.path} HTTP/1.1\r\nHost: origin\r\n{HEADER}: {lease}\r\n\r\n"
    writer.write(head.encode())
    first = await reader.readexactly(1)
    first_s = loop.time() - began
    said = first + await reader.readuntil(b"\r\n\r\n")
    if not said.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{url}: {said.decode()}")
    pieces = [await reader.read(1 << 16)]
    content_s, size = loop.time() - began, len(pieces[0])
    while size < OBJECT_SIZE and (piece := await reader.read(1 << 16)):
        pieces.append(piece)
        size += len(piece)
    done_s = loop.time() - began
    writer.close()
    if await asyncio.to_thread(lambda: digest_of(b"".join(pieces))) != digest_of(title.bundle):
        raise RuntimeError(f"{url}: other bytes than were published")
    return Arrival(first_s, content_s, done_s)


def _row(
    name: str,
    crowd: list[Measured] | None,
    single: list[Measured],
    direct: list[Measured],
) -> list[str]:
    alone_s = _median([each.last.done_s for each in single])
    ratio = _median([a.last.done_s / b.last.done_s for a, b in zip(single, direct, strict=True)])
    alone = f"{alone_s:.2f} ({ratio:.2f})"
    if crowd is None:
        return [name, "-", "-", "-", "-", alone]
    return [
        name,
        f"{1e3 * _median([each.last.first_s for each in crowd]):.0f}",
        f"{1e3 * _median([each.last.content_s for each in crowd]):.0f}",
        f"{_median([each.last.done_s for each in crowd]):.2f}",
        f"{_median([each.origin_bytes_per_byte for each in crowd]):.4f}",
        alone,
    ]


def _gates(crowd: list[Measured], singles: dict[str, list[Measured]]) -> list[str]:
    first_ms = 1e3 * _median([each.last.first_s for each in crowd])
    origin = max(each.origin_bytes_per_byte for each in crowd)
    pairs = zip(singles[EDGE], singles[DIRECT], strict=True)
    single = _median([ours.last.done_s / direct.last.done_s for ours, direct in pairs])
    return [
        _gate("last first byte, ms", first_ms, FIRST_BYTE_GATE_MS),
        _gate("origin bytes per object byte, the worst round", origin, ORIGIN_BYTES_GATE),
        _gate("one client alone, of one connection", single, SINGLE_GATE),
    ]


def _gate(name: str, found: float, at_most: float) -> str:
    return f"{'met' if found <= at_most else 'MISSED'}: {name}: {found:.4g}, at most {at_most:g}"


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()
