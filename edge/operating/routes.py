"""Doors of operators: ``docs/format/edge_api.md``, under ``/edge/v1/``, and the page ``/edge/``.

A process with several workers answers on any of them for all: what reads is asked of every worker
and put together, what changes the cache is done by each with what it keeps.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from random import Random

import msgspec
from aiohttp import web

from edge.node import Node
from edge.operating import page
from edge.operating.access import CheckOperator, Desk, Note, body_of, json_answer
from edge.operating.carrier import FIRST_PAUSE_S
from edge.operating.crew import Crew, best_explanation, by_age, merged_drain
from edge.operating.everywhere import documents_in, let_go, names_in
from edge.operating.messages import (
    Amount,
    DocumentsRequest,
    Drained,
    DrainRequest,
    Explanation,
    NamesRequest,
    PinRequest,
    PurgeRequest,
    Status,
    SupersedeRequest,
    Warm,
    WarmRequest,
)
from edge.operating.status import merged
from edge.operating.warm_files import ID_PATTERN
from edge.operating.warms import aims_at
from edge.operating.worker import Operating
from kit.errors import NotFound
from kit.http_server import STATE, is_from_sibling
from kit.server_sent_events import BEAT, CONTENT_TYPE, ServerEvent
from kit.service import Binder
from manifests.names import TitleId, title_id

API = "/edge/v1"
CREW_BODY_SIZE_MAX = 1 << 20
"""Of what one worker tells another."""
TELL_EVERY_S = 0.5
"""How often who follows a warm is told of it, if anything changed."""
BEATS_EVERY = 10
"""Unchanged turns after which a sign of life is sent."""


def bind(
    binder: Binder,
    node: Node,
    *,
    check_operator: CheckOperator,
    note: Note,
    random: Random,
    first_pause_s: float = FIRST_PAUSE_S,
) -> None:
    """Let operators in to ``node``; ``note`` writes down what they do.

    ``first_pause_s`` is how long a warm waits before it asks again for what failed, at first.
    """
    operating = Operating(binder, node, random=random, first_pause_s=first_pause_s)
    desk = Desk(check_operator, note, node.clock)
    doors = _Doors(operating, desk, operating.crew)
    binder.for_operators("/edge/")
    binder.lifetime(operating.open)
    binder.background("edge readings", operating.sample)
    binder.routes(
        web.get("/edge/", page.serve),
        web.get(f"{API}/status", desk.known(doors.status)),
        web.get(f"{API}/explain/{{what:.*}}", desk.known(doors.explain)),
        web.get(f"{API}/warms", desk.known(doors.list_warms)),
        web.post(f"{API}/warms", desk.known(doors.begin_warm)),
        web.get(f"{API}/warms/{{warm_id}}", desk.known(doors.show_warm)),
        web.delete(f"{API}/warms/{{warm_id}}", desk.known(doors.cancel_warm)),
        web.get(f"{API}/warms/{{warm_id}}/events", desk.known(doors.follow_warm)),
        web.post(f"{API}/purge", desk.known(doors.purge)),
        web.post(f"{API}/pins", desk.known(doors.pin)),
        web.post(f"{API}/crew/names", desk.only_siblings(doors.act_on_names)),
        web.get(f"{API}/crew/names/{{title}}", desk.only_siblings(doors.list_names)),
        web.post(f"{API}/crew/documents", desk.only_siblings(doors.let_documents_go)),
        web.post(f"{API}/supersede", desk.known(doors.supersede)),
        web.post(f"{API}/drain", desk.known(doors.drain)),
    )


class _Doors:
    def __init__(self, operating: Operating, desk: Desk, crew: Crew) -> None:
        self._operating = operating
        self._desk = desk
        self._crew = crew

    async def status(self, request: web.Request) -> web.Response:
        watch = self._operating.watch
        assert watch is not None, "opened before the first request"
        own = watch.status(request.app[STATE], self._operating.warms.all)
        return json_answer(merged(await self._crew.all(request, own, Status)))

    async def explain(self, request: web.Request) -> web.Response:
        what = _as_path(request.match_info["what"])
        own = await self._operating.explaining.explain(what)
        return json_answer(best_explanation(await self._crew.all(request, own, Explanation)))

    async def list_warms(self, request: web.Request) -> web.Response:
        own = self._operating.warms.all
        return json_answer(by_age(await self._crew.all(request, own, list[Warm])))

    async def begin_warm(self, request: web.Request) -> web.Response:
        asked = await body_of(request, WarmRequest)
        for warm in by_age(await self._crew.ask("GET", f"{API}/warms", list[Warm])):
            if not warm.phase.is_over and aims_at(warm.request, asked):
                return json_answer(warm)
        beginning = self._operating.warms.begin(asked)
        warm = await self._desk.noted(request, "warm", asked.target, beginning)
        return json_answer(warm, status=201)

    async def show_warm(self, request: web.Request) -> web.Response:
        return json_answer(await self._latest(request, request.match_info["warm_id"]))

    async def cancel_warm(self, request: web.Request) -> web.Response:
        warm_id = request.match_info["warm_id"]
        cancelling = self._cancel(request, warm_id)
        return json_answer(await self._desk.noted(request, "cancel warm", warm_id, cancelling))

    async def follow_warm(self, request: web.Request) -> web.StreamResponse:
        warm_id = request.match_info["warm_id"]
        warm = await self._latest(request, warm_id)
        state = request.app[STATE]
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        response.content_type = CONTENT_TYPE
        await response.prepare(request)
        async for event in _events(warm, lambda: self._latest(request, warm_id)):
            async with asyncio.timeout(state.settings.drop_stalled_after):
                await response.write(event)
            if state.is_draining:
                break
        return response

    async def purge(self, request: web.Request) -> web.Response:
        asked = await body_of(request, PurgeRequest)
        what = "dry purge" if asked.dry_run else "hard purge" if asked.hard else "purge"
        purging = self._operating.purging.purge(asked)
        return json_answer(await self._desk.noted(request, what, asked.target, purging))

    async def pin(self, request: web.Request) -> web.Response:
        asked = await body_of(request, PinRequest)
        what = "pin" if asked.until_s else "unpin"
        pinning = self._operating.purging.pin(asked)
        return json_answer(await self._desk.noted(request, what, asked.target, pinning))

    async def supersede(self, request: web.Request) -> web.Response:
        asked = await body_of(request, SupersedeRequest)
        superseding = self._operating.purging.supersede(TitleId(asked.title))
        return json_answer(await self._desk.noted(request, "supersede", asked.title, superseding))

    async def act_on_names(self, request: web.Request) -> web.Response:
        asked = await body_of(request, NamesRequest, CREW_BODY_SIZE_MAX)
        keeping = self._operating.keeping
        return json_answer(await keeping.act(asked.action, names_in(asked), asked.until_s))

    async def list_names(self, request: web.Request) -> web.Response:
        title = title_id(request.match_info["title"])
        return json_answer(await self._operating.keeping.names_of(title))

    async def let_documents_go(self, request: web.Request) -> web.Response:
        asked = await body_of(request, DocumentsRequest, CREW_BODY_SIZE_MAX)
        found = list(documents_in(asked))
        let_go(self._operating.documents, found, hard=asked.hard)
        return json_answer(Amount(len(found)))

    async def drain(self, request: web.Request) -> web.Response:
        asked = await body_of(request, DrainRequest)

        async def draining() -> Drained:
            own = _drain(request, draining=asked.draining)
            return merged_drain(await self._crew.all(request, own, Drained, _encoded(asked)))

        what = "drain" if asked.draining else "undrain"
        return json_answer(await self._desk.noted(request, what, "", draining()))

    async def _latest(self, request: web.Request, warm_id: str) -> Warm:
        """Return a warm of any worker.

        Raises:
            NotFound: None has this id.
        """
        try:
            return self._operating.warms.get(warm_id)
        except NotFound:
            found: list[Warm] = []
            if not is_from_sibling(request) and re.fullmatch(ID_PATTERN, warm_id):
                found = await self._crew.ask("GET", f"{API}/warms/{warm_id}", Warm)
            if not found:
                raise
            return found[0]

    async def _cancel(self, request: web.Request, warm_id: str) -> Warm:
        try:
            return await self._operating.warms.cancel(warm_id)
        except NotFound:
            found: list[Warm] = []
            if not is_from_sibling(request) and re.fullmatch(ID_PATTERN, warm_id):
                found = await self._crew.ask("DELETE", f"{API}/warms/{warm_id}", Warm)
            if not found:
                raise
            return found[0]


def _encoded(asked: msgspec.Struct) -> bytes:
    return msgspec.json.encode(asked)


def _drain(request: web.Request, *, draining: bool) -> Drained:
    """Say of ourselves that we are not ready, and in each answer that it is its connection's last.

    What is under way, and what still comes, is answered: whoever sends traffic looks at
    ``/readyz`` now and then.
    """
    state = request.app[STATE]
    state.is_draining = draining
    return Drained(draining=draining, requests_running=state.running)


async def _events(warm: Warm, latest: Callable[[], Awaitable[Warm]]) -> AsyncGenerator[bytes, None]:
    """Yield a warm whenever it changed, and signs of life; the last says that it is over."""
    before, unchanged = b"", 0
    while True:
        now = msgspec.json.encode(warm)
        if now != before:
            yield ServerEvent("warm", now).encode()
            before, unchanged = now, 0
        elif unchanged == BEATS_EVERY:
            yield BEAT
            unchanged = 0
        if warm.phase.is_over:
            return
        unchanged += 1
        await asyncio.sleep(TELL_EVERY_S)
        warm = await latest()


def _as_path(what: str) -> str:
    """Return what was named after ``/explain/``: a path lost its first slash there."""
    return f"/{what}" if what.startswith(("t/", "trust/")) else what
