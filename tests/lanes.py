"""An edge with its fast lane and one without, both warm, and what each answers to raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kit.http_settings import ListenSettings
from kit.object_storage.testing import MemoryStorage
from kit.units import Seconds
from manifests.lease import HEADER
from manifests.lease_gate import Guard
from tests.serving import Node, running_edge, running_origin
from tests.titles import PublishedTitle, put

LISTEN = ListenSettings(
    head_within=Seconds(0.3),
    close_idle_after=Seconds(0.6),
    drain_for=Seconds(5),
    linger_for=Seconds(0),
    turn_within=Seconds(0),
)
CHANGING = frozenset({"date", "traceparent", "age"})
"""Headers that differ from answer to answer."""


@dataclass(frozen=True)
class Lanes:
    """Both edges; they have the same in memory."""

    fast: Node
    full: Node


@asynccontextmanager
async def running_lanes(
    folder: Path, title: PublishedTitle, paths: Iterable[str], guard: Guard, lease: str
) -> AsyncIterator[Lanes]:
    storage = MemoryStorage()
    await put(storage, title)
    async with (
        running_origin(storage) as origin,
        running_edge(folder / "fast", origin.url, listen=LISTEN, guard=guard) as fast,
        running_edge(
            folder / "full", origin.url, listen=LISTEN, guard=guard, fast_lane=False
        ) as full,
    ):
        for node in (fast, full):
            for path in paths:
                assert (await node.ask(path, **{HEADER: lease})).status == 200
        yield Lanes(fast, full)


@dataclass(frozen=True)
class Wire:
    """All that a server sent before it hung up, or was silent for long."""

    answers: tuple[tuple[int, frozenset[tuple[str, str]], bytes], ...]
    rest: bytes


async def both(lanes: Lanes, pieces: Sequence[bytes], *, answers_max: int = 3) -> tuple[Wire, Wire]:
    """Send the same to both edges, and return what the fast and the full one answer."""
    fast, full = await asyncio.gather(
        sent(lanes.fast, pieces, answers_max=answers_max),
        sent(lanes.full, pieces, answers_max=answers_max),
    )
    return fast, full


async def sent(node: Node, pieces: Sequence[bytes], *, answers_max: int = 3) -> Wire:
    """Send ``pieces`` each on its own, and return what comes back; parsed as a client would."""
    is_head = b"".join(pieces).startswith(b"HEAD ")
    host, _, port = node.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        found: list[tuple[int, frozenset[tuple[str, str]], bytes]] = []
        while len(found) < answers_max:
            answer = await _answer(reader, is_head=is_head)
            if answer is None:
                break
            found.append(answer)
        rest = b"" if len(found) == answers_max else await reader.read()
    except ConnectionError:
        return Wire((), b"reset")
    finally:
        writer.close()
    return Wire(tuple(found), rest)


async def _answer(
    reader: asyncio.StreamReader, *, is_head: bool
) -> tuple[int, frozenset[tuple[str, str]], bytes] | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    status, *lines = head.split("\r\n")[:-2]
    headers = [(name.lower(), value) for name, _, value in (x.partition(": ") for x in lines)]
    number = int(status.split()[1])
    length = 0 if number == 304 or is_head else int(dict(headers).get("content-length", "0"))
    body = await reader.readexactly(length)
    if b"trace_id" in body:
        body = body.partition(b'"trace_id"')[0]
    return number, frozenset(pair for pair in headers if pair[0] not in CHANGING), body
