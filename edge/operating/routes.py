"""Doors of operators: ``docs/format/edge_api.md``, under ``/edge/v1/``, and the page ``/edge/``.

A process with several workers answers on any of them for all: what reads is asked of every worker
and put together, what changes the cache is done by each with what it keeps.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import msgspec
from aiohttp import web

from edge.documents import Document, DocumentAddress
from edge.node import Node
from edge.operating import page
from edge.operating.access import CheckOperator, Desk, Note, body_of, json_answer
from edge.operating.carrier import FIRST_PAUSE_S, Carrier
from edge.operating.crew import (
    Crew,
    best_explanation,
    by_age,
    merged_drain,
    merged_pin,
    merged_purge,
    merged_supersede,
)
from edge.operating.explaining import Explaining
from edge.operating.keeping import Keeping
from edge.operating.messages import (
    Amount,
    Drained,
    DrainRequest,
    Explanation,
    Pinned,
    PinRequest,
    Purged,
    PurgeRequest,
    Status,
    Superseded,
    SupersedeRequest,
    Warm,
    WarmRequest,
)
from edge.operating.purging import Purging
from edge.operating.readings import SAMPLE_EVERY_S, Readings
from edge.operating.selection import Selecting
from edge.operating.status import Watch, merged, read_about
from edge.operating.targets import OfChannel, parse_target
from edge.operating.warm_files import ID_PATTERN
from edge.operating.warming import Warming
from edge.operating.warms import Warms, aims_at
from kit.errors import NotFound
from kit.http_server import STATE, is_from_sibling
from kit.server_sent_events import BEAT, CONTENT_TYPE, ServerEvent
from kit.service import Binder
from manifests.addresses import HeadAddress, TimestampAddress, TrustBundleAddress
from manifests.names import TitleId

API = "/edge/v1"
TELL_EVERY_S = 0.5
"""How often who follows a warm is told of it, if anything changed."""
BEATS_EVERY = 10
"""Unchanged turns after which a sign of life is sent."""


def bind(
    binder: Binder,
    node: Node,
    keeping: Keeping,
    *,
    check_operator: CheckOperator,
    note: Note,
    random: Random,
    first_pause_s: float = FIRST_PAUSE_S,
) -> None:
    """Let operators in to ``node``; ``note`` writes down what they do.

    ``first_pause_s`` is how long a warm waits before it asks again for what failed, at first.
    """
    operating = Operating(binder, node, keeping, random=random, first_pause_s=first_pause_s)
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
        web.post(f"{API}/supersede", desk.known(doors.supersede)),
        web.post(f"{API}/drain", desk.known(doors.drain)),
    )


class Operating:
    """All that operators reach of one worker, put together. Open it before use."""

    def __init__(
        self,
        binder: Binder,
        node: Node,
        keeping: Keeping,
        *,
        random: Random,
        first_pause_s: float,
    ) -> None:
        self._binder = binder
        self.crew = Crew(node.siblings)
        self._readings = Readings(binder.registry, node.clock)
        selecting = Selecting(node.documents, node.blobs, keeping)
        self.purging = Purging(node.documents, keeping, selecting)
        self.explaining = Explaining(
            documents=node.documents,
            keeping=keeping,
            selecting=selecting,
            departures=node.departures,
            upstreams=node.upstreams,
            clock=node.clock,
        )

        def new_warming(warm: Warm) -> Warming:
            carrier = Carrier(
                warm,
                self.renew,
                node.blobs,
                keeping,
                node.clock,
                metrics=node.metrics,
                first_pause_s=first_pause_s,
            )
            return Warming(
                warm,
                carrier,
                at_once=node.settings.warm_fetches_max,
                supersede=self.supersede_everywhere,
            )

        self.warms = Warms(
            node.settings.cache_dir,
            new_warming,
            worker=node.siblings.index,
            workers=node.siblings.count,
            clock=node.clock,
            random=random,
        )
        watch = node.metrics.watch
        watch("warms_running", "Warms under way.", lambda: self.warms.running_count)
        watch("warm_left_bytes", "What they have yet to bring.", lambda: self.warms.left_size)
        self._node = node
        self._keeping = keeping
        self.watch: Watch | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Go on with what a restart ended."""
        about = await asyncio.to_thread(read_about)
        self.watch = Watch(
            self._readings,
            self._node.documents,
            self._keeping,
            self._node.upstreams,
            clock=self._node.clock,
            about=about,
        )
        async with self.warms.open():
            yield

    async def renew(self, address: DocumentAddress) -> Document:
        """Return a document as upstream has it now; every worker has it so from here on.

        Raises:
            NotFound: There is none.
            NoUpstream: No upstream can give it.
        """
        documents = self._node.documents
        if isinstance(address, HeadAddress | TrustBundleAddress | TimestampAddress):
            await self.crew.outdate(documents, address)
        return await documents.renew(address)

    async def supersede_everywhere(self, title: TitleId) -> Amount:
        """Have every worker let go first of what is in no release of ``title`` that is played.

        Raises:
            NotFound, NoUpstream: What is played cannot be found out.
        """
        own = await self.purging.supersede(title)
        body = msgspec.json.encode(SupersedeRequest(title=title))
        others = await self.crew.ask("POST", f"{API}/supersede", Superseded, body)
        return merged_supersede([own, *others]).superseded

    async def freshen(self, text: str) -> None:
        """If a channel is named, see to it that every worker knows what it plays now."""
        target = parse_target(text)
        if isinstance(target, OfChannel):
            address = HeadAddress(target.title, target.channel)
            await self.crew.outdate(self._node.documents, address)

    async def sample(self) -> None:
        """Note each second what goes through, until cancelled."""
        while True:
            self._readings.sample()
            await asyncio.sleep(SAMPLE_EVERY_S)


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

        async def purging() -> Purged:
            if not is_from_sibling(request):
                await self._operating.freshen(asked.target)
            own = await self._operating.purging.purge(asked)
            return merged_purge(await self._crew.all(request, own, Purged, _encoded(asked)))

        return json_answer(await self._desk.noted(request, what, asked.target, purging()))

    async def pin(self, request: web.Request) -> web.Response:
        asked = await body_of(request, PinRequest)
        what = "pin" if asked.until_s else "unpin"

        async def pinning() -> Pinned:
            if not is_from_sibling(request):
                await self._operating.freshen(asked.target)
            own = await self._operating.purging.pin(asked)
            return merged_pin(await self._crew.all(request, own, Pinned, _encoded(asked)))

        return json_answer(await self._desk.noted(request, what, asked.target, pinning()))

    async def supersede(self, request: web.Request) -> web.Response:
        asked = await body_of(request, SupersedeRequest)

        async def superseding() -> Superseded:
            own = await self._operating.purging.supersede(TitleId(asked.title))
            return merged_supersede(await self._crew.all(request, own, Superseded, _encoded(asked)))

        return json_answer(await self._desk.noted(request, "supersede", asked.title, superseding()))

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
