"""What operators ask every process: is it alive, may it have traffic, what does it count."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from kit.errors import PlayheadError
from kit.http_server import STATE, is_from_sibling
from kit.metrics_merging import labelled, merged

AskSiblings = Callable[[str, str], Awaitable[list[bytes]]]
"""Asks every other process of this node by method and path; returns what answered."""

CHECK_S = 2.0
"""A dependency that takes longer than this to answer is not one to send traffic to."""

Check = Callable[[], Awaitable[None]]


class Health:
    """The routes ``/healthz``, ``/readyz`` and ``/metrics``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._checks: dict[str, Check] = {}
        self._worker: int | None = None
        self._ask_siblings: AskSiblings = _nobody

    def add(self, name: str, check: Check) -> None:
        """Be ready only while ``check()`` returns; what it raises is shown under ``name``."""
        assert name not in self._checks
        self._checks[name] = check

    def speak_for_all(self, worker: int, ask_siblings: AskSiblings) -> None:
        """Answer for every process of this node, of which we are ``worker``."""
        self._worker = worker
        self._ask_siblings = ask_siblings

    def routes(self) -> list[web.RouteDef]:
        """Return what to serve."""
        return [
            web.get("/healthz", self._alive),
            web.get("/readyz", self._ready),
            web.get("/metrics", self._metrics),
        ]

    async def _alive(self, _request: web.Request) -> web.Response:
        return web.json_response({"alive": True}, headers={"Cache-Control": "no-store"})

    async def _ready(self, request: web.Request) -> web.Response:
        faults = dict(
            zip(
                self._checks,
                await asyncio.gather(*(_fault(check) for check in self._checks.values())),
                strict=True,
            )
        )
        if request.app[STATE].is_draining:
            faults["process"] = "is draining"
        faults = {name: fault for name, fault in faults.items() if fault is not None}
        if self._worker is not None:
            faults = {f"worker {self._worker}: {name}": fault for name, fault in faults.items()}
        if not is_from_sibling(request):
            for answer in await self._ask_siblings("GET", "/readyz"):
                faults |= msgspec.json.decode(answer, type=_Readiness).faults
        return web.json_response(
            {"ready": not faults, "faults": faults},
            status=503 if faults else 200,
            headers={"Cache-Control": "no-store"},
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        if self._worker is not None:
            body = labelled(body, "worker", str(self._worker))
            if not is_from_sibling(request):
                others = await self._ask_siblings("GET", "/metrics")
                body = await asyncio.to_thread(merged, [body, *others])
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Readiness(msgspec.Struct, frozen=True):
    """What ``/readyz`` answers."""

    ready: bool
    faults: dict[str, str]


async def _nobody(_method: str, _path: str) -> list[bytes]:
    return []


async def _fault(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_S):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_S:g} s"
    except PlayheadError as error:
        return str(error)
    return None
