"""The commands of ``tuf_client``: the console's client of trust, its fetcher, and plain folders."""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from console.fetcher import Fetcher
from console.leases import Leases
from console.progress import Meter, ignore
from console.settings import ConsoleSettings
from console.trust_client import TrustClient
from console.trust_sources import METADATA, TARGETS, FromLoop
from kit.clock import SystemClock
from kit.errors import PlayheadError
from kit.http_client import HttpClient
from kit.http_settings import ClientSettings
from kit.units import Seconds
from tests.leases import AnyLease

ROOT = "root.json"


def main(arguments: Sequence[str], now: Callable[[], float] = time.time) -> int:
    """Carry out one command at the time that ``now`` says; return its exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.command == "init":
            chosen.metadata_dir.mkdir(parents=True, exist_ok=True)
            (chosen.metadata_dir / ROOT).write_bytes(chosen.trusted_root.read_bytes())
        else:
            asyncio.run(_visit(chosen, now()))
    except (PlayheadError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _visit(chosen: Namespace, now_s: float) -> None:
    async with HttpClient(ClientSettings()) as http:
        fetchers = {
            METADATA: _fetcher(chosen.metadata_url, http),
            TARGETS: _fetcher(chosen.target_base_url or chosen.metadata_url, http),
        }

        async def fetch(name: str, size_max: int) -> bytes:
            kind, _, rest = name.partition("/")
            may_lack = rest.endswith(f".{ROOT}")
            fetcher = fetchers[f"{kind}/"]
            return await fetcher.get(rest, size_max, _unchanged, may_lack=may_lack)

        source = FromLoop(fetch)
        try:
            await asyncio.to_thread(_work(chosen, source, now_s))
        finally:
            source.close()


def _work(chosen: Namespace, source: FromLoop, now_s: float) -> Callable[[], None]:
    def work() -> None:
        client = TrustClient(
            chosen.metadata_dir,
            (chosen.metadata_dir / ROOT).read_bytes(),
            source,
            now_s=now_s,
            check=lambda _name, _role, _document: None,
            target_folder=chosen.target_dir,
        )
        client.refresh()
        for name in chosen.target_name or ():
            client.download(name)

    return work


def _fetcher(url: str, http: HttpClient) -> Fetcher:
    clock = SystemClock()
    settings = ConsoleSettings(edges=(url,), give_up_after=Seconds(1))
    leases = Leases(AnyLease(), settings, clock)
    return Fetcher(settings, http, leases, clock, Meter(clock, ignore))


async def _unchanged(body: bytearray) -> bytes:
    return bytes(body)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="tuf_client", description="The public conformance interface.")
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name", action="append")
    parser.add_argument("--target-base-url")
    parser.add_argument("--target-dir", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser
