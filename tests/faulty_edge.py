"""A tiny edge over a dict of objects that misbehaves on demand, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web


@dataclass(frozen=True)
class Asked:
    """A request: path without the leading slash, and the span ``[start, end)`` if it has one."""

    path: str
    span: tuple[int, int] | None

    @property
    def is_bundle(self) -> bool:
        return "/b/" in self.path


Start = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]
"""Answers a start call, given what it brings."""


class Fault(Protocol):
    """Answers instead of the edge, or returns None to let it answer."""

    async def __call__(
        self, request: web.Request, asked: Asked, body: bytes, /
    ) -> web.StreamResponse | None: ...


@dataclass
class FaultyEdge:
    """Serves ``objects``; ``fault`` may be changed at any time."""

    objects: Mapping[str, bytes]
    fault: Fault | None = None
    start: Start | None = None
    """An edge without it has never heard of start calls."""
    asked: list[Asked] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)
    """Paths of start calls."""
    sent_bytes: int = 0
    url: str = ""

    def bundle_bytes_asked(self) -> int:
        return sum(a.span[1] - a.span[0] for a in self.asked if a.is_bundle and a.span)

    async def answer_start(self, request: web.Request) -> web.StreamResponse:
        self.starts.append(request.path)
        if self.start is None:
            return web.Response(status=405)
        return await self.start(request, await request.read())

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.lstrip("/")
        span = _span(request)
        asked = Asked(path, span)
        self.asked.append(asked)
        whole = self.objects.get(path)
        if whole is None:
            return web.Response(status=404)
        body = whole if span is None else whole[span[0] : span[1]]
        if self.fault is not None:
            answer = await self.fault(request, asked, body)
            if answer is not None:
                return answer
        self.sent_bytes += len(body)
        return _right(span, body, len(whole))


@asynccontextmanager
async def serving_faulty(*edges: FaultyEdge) -> AsyncIterator[None]:
    """Serve each edge on a port of its own; its ``url`` says which."""
    runners: list[web.AppRunner] = []
    try:
        for edge in edges:
            app = web.Application()
            app.router.add_get("/{path:.*}", edge.answer)
            app.router.add_post("/{path:.*}", edge.answer_start)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            runners.append(runner)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            edge.url = f"http://{host}:{port}"
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


def only_bundles(fault: Fault) -> Fault:
    """Let everything but ranges of bundles through."""

    async def answer(request: web.Request, asked: Asked, body: bytes) -> web.StreamResponse | None:
        return await fault(request, asked, body) if asked.is_bundle else None

    return answer


def after(count: int, fault: Fault) -> Fault:
    """Let the first ``count`` answers through."""
    seen = 0

    async def answer(request: web.Request, asked: Asked, body: bytes) -> web.StreamResponse | None:
        nonlocal seen
        seen += 1
        return await fault(request, asked, body) if seen > count else None

    return answer


def status(code: int) -> Fault:
    async def answer(_: web.Request, __: Asked, ___: bytes) -> web.StreamResponse:
        return web.Response(status=code)

    return answer


async def flipped(_: web.Request, asked: Asked, body: bytes) -> web.StreamResponse:
    """Change one bit in the middle."""
    wrong = bytearray(body)
    wrong[len(wrong) // 2] ^= 1
    return _right(asked.span, bytes(wrong), 1 << 30)


async def other_span(_: web.Request, asked: Asked, body: bytes) -> web.StreamResponse:
    """Answer with a span that nobody asked for."""
    start, end = asked.span or (0, len(body))
    return _right((start + 1, end + 1), body, 1 << 30)


async def whole_object(_: web.Request, __: Asked, body: bytes) -> web.StreamResponse:
    """Ignore the range."""
    return web.Response(body=body)


async def cut_short(request: web.Request, asked: Asked, body: bytes) -> web.StreamResponse:
    """Promise everything, send half, and hang up."""
    response = await _promised(request, asked, body)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.abort()
    return response


async def stalled(request: web.Request, asked: Asked, body: bytes) -> web.StreamResponse:
    """Send half, and then nothing, for as long as the client stays."""
    response = await _promised(request, asked, body)
    await response.write(body[: len(body) // 2])
    await asyncio.sleep(3600)
    return response


async def _promised(request: web.Request, asked: Asked, body: bytes) -> web.StreamResponse:
    headers = {"Content-Length": str(len(body))}
    if asked.span is not None:
        headers["Content-Range"] = f"bytes {asked.span[0]}-{asked.span[1] - 1}/{1 << 30}"
    response = web.StreamResponse(status=206 if asked.span else 200, headers=headers)
    await response.prepare(request)
    return response


def _right(span: tuple[int, int] | None, body: bytes, whole_size: int) -> web.Response:
    if span is None:
        return web.Response(body=body)
    headers = {"Content-Range": f"bytes {span[0]}-{span[0] + len(body) - 1}/{whole_size}"}
    return web.Response(status=206, body=body, headers=headers)


def _span(request: web.Request) -> tuple[int, int] | None:
    found = request.headers.get("Range")
    if found is None:
        return None
    first, _, last = found.removeprefix("bytes=").partition("-")
    return int(first), int(last) + 1
