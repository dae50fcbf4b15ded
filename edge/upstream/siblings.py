"""The other workers of this node: who is responsible for what, and how to ask them.

Every blob and every document has one worker that fetches it for all, so that a node asks upstream
once. The others ask that worker over a socket in the cache folder, by the same HTTP as clients. A
worker that has died, or hangs, is done without: whoever waits for it asks upstream itself, and
until it answers again nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from edge.crew import WORKERS_MAX
from edge.metrics import EdgeMetrics
from edge.passage import HEADER as LOOP_HEADER
from edge.passage import HERE
from edge.upstream.upstreams import NodeLease, NoUpstream
from kit.errors import IntegrityError, NotFound, PlayheadError, Unavailable
from kit.http_client import HttpClient, HttpReply
from kit.http_settings import ClientSettings
from kit.single_flight import SingleFlight
from kit.telemetry import get_logger
from kit.units import Seconds
from manifests.lease import HEADER

log = get_logger("edge.siblings")

T = TypeVar("T")
Take = Callable[[HttpReply], Awaitable[T]]

ANSWER_SIZE_MAX = 16 << 20
"""Of what a sibling tells operators."""
ANSWER_WITHIN_S = 2.0

LOOK_EVERY_S = 0.5
"""While waiting for a sibling's answer, which may need an upstream that is slow, we look whether
it lives."""
ALIVE_WITHIN_S = 15.0
"""A worker whose event loop does not turn for so long counts as gone; one that ended is told from
it at once. Five thousand clients that waited for the same slice keep a loop busy for seconds, and
whoever then asked upstream for itself would ask for what is here."""

PATIENCE = ClientSettings(connect_within=Seconds(1), stall_after=Seconds(120), connections_max=256)
"""How long an answer may take is for the worker to say that fetches it; whether that lives, we
see."""


class SiblingGone(Unavailable):
    """The worker that is responsible cannot answer; ask upstream instead."""

    code = "sibling-gone"


class Siblings(Protocol):
    """The other workers, be there any."""

    @property
    def index(self) -> int:
        """Which worker this is, from 0."""

    @property
    def count(self) -> int:
        """How many there are, this one included."""

    def owns(self, name: bytes) -> bool:
        """Tell whether this worker is responsible for what has this name, a digest."""

    async def fetch(self, name: bytes, path: str, take: Take[T], *, if_none_match: str = "") -> T:
        """Return what ``take`` makes of the answer of who is responsible for ``name``.

        With a tag in ``if_none_match`` that may be a 304.

        Raises:
            NotFound: There is no such thing.
            NoUpstream: No upstream can give it.
            SiblingGone: Ask upstream yourself.
        """

    async def ask_all(
        self, method: str, path: str, body: bytes = b"", within_s: float = ANSWER_WITHIN_S
    ) -> list[bytes]:
        """Return what the others answer to ``path``, in order; who does not in time is left out."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """Be ready to ask them, until the block is left."""


class Alone:
    """No others: a process that does everything itself."""

    index, count = 0, 1

    def owns(self, name: bytes) -> bool:  # noqa: ARG002 - all names
        """Tell that this worker is responsible."""
        return True

    async def fetch(
        self,
        name: bytes,  # noqa: ARG002 - nobody
        path: str,
        take: Take[T],  # noqa: ARG002
        *,
        if_none_match: str = "",  # noqa: ARG002
    ) -> T:
        """Refuse: there is nobody to ask."""
        raise SiblingGone(f"{path}: there is no other worker")

    async def ask_all(
        self,
        method: str,  # noqa: ARG002 - the port's
        path: str,  # noqa: ARG002
        body: bytes = b"",  # noqa: ARG002
        within_s: float = ANSWER_WITHIN_S,  # noqa: ARG002
    ) -> list[bytes]:
        """Return nothing."""
        return []

    def open(self) -> AbstractAsyncContextManager[None]:
        """Do nothing."""
        return nullcontext()


class Workers:
    """The workers of one node, each behind a socket in ``folder``."""

    def __init__(
        self,
        index: int,
        count: int,
        folder: Path,
        *,
        node_lease: NodeLease,
        within_s: float,
        metrics: EdgeMetrics,
    ) -> None:
        assert 0 <= index < count <= WORKERS_MAX
        self.index = index
        self.count = count
        self._clients = {
            other: HttpClient(PATIENCE, socket_of(folder, other))
            for other in range(count)
            if other != index
        }
        self._node_lease = node_lease
        self._within_s = within_s
        self._metrics = metrics
        self._looks: SingleFlight[int, bool] = SingleFlight()
        self._done_without: SingleFlight[int, None] = SingleFlight()
        """Of each worker that hangs, the wait for it to answer again."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Be ready to ask them, until the block is left."""
        async with AsyncExitStack() as stack:
            for client in self._clients.values():
                await stack.enter_async_context(client)
            stack.push_async_callback(self._looks.close)
            stack.push_async_callback(self._done_without.close)
            yield

    def owns(self, name: bytes) -> bool:
        """Tell whether this worker is responsible for what has this name, a digest."""
        return self._owner(name) == self.index

    async def fetch(self, name: bytes, path: str, take: Take[T], *, if_none_match: str = "") -> T:
        """Return what ``take`` makes of the answer of who is responsible for ``name``.

        With a tag in ``if_none_match`` that may be a 304.

        Raises:
            NotFound: There is no such thing.
            NoUpstream: No upstream can give it.
            SiblingGone: Ask upstream yourself.
        """
        owner = self._owner(name)
        if owner in self._done_without:
            raise SiblingGone(f"{path}: worker {owner} has not answered for a while")
        asking = asyncio.create_task(self._ask(owner, path, take, if_none_match))
        try:
            while not (await asyncio.wait([asking], timeout=LOOK_EVERY_S))[0]:
                if not await self._is_alive(owner):
                    self._done_without.join(owner, lambda: self._is_back(owner))
                    raise SiblingGone(f"{path}: worker {owner} does not answer")
            result = await asking
        except (NotFound, NoUpstream):
            raise
        except PlayheadError as error:
            asking.cancel()
            self._metrics.sibling_failures.inc()
            log.warning("sibling.failed", sibling=owner, code=error.code, detail=str(error))
            if isinstance(error, IntegrityError):
                self._metrics.bad_sibling.inc()
            raise SiblingGone(str(error)) from error
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        self._metrics.sibling_fetches.inc()
        return result

    async def ask_all(
        self, method: str, path: str, body: bytes = b"", within_s: float = ANSWER_WITHIN_S
    ) -> list[bytes]:
        """Return what the others answer to ``path``, in order; who does not in time is left out."""
        asking = (self._answer(other, method, path, body, within_s) for other in self._clients)
        return [answer for answer in await asyncio.gather(*asking) if answer is not None]

    def _owner(self, name: bytes) -> int:
        return name[0] % WORKERS_MAX % self.count

    async def _ask(self, owner: int, path: str, take: Take[T], if_none_match: str) -> T:
        headers = {HEADER: self._node_lease()}
        if if_none_match:
            headers["If-None-Match"] = if_none_match
        if HERE.get().nodes:
            headers[LOOP_HEADER] = HERE.get().header()
        try:
            async with (
                # It gives up on its upstreams first, and says so.
                asyncio.timeout(2 * self._within_s),
                self._clients[owner].get(_url(owner, path), headers=headers) as reply,
            ):
                if reply.status == NoUpstream.status:
                    raise NoUpstream(await _detail(reply))
                if not (if_none_match and reply.status == 304):
                    reply.require_content()
                return await take(reply)
        except TimeoutError as error:
            raise Unavailable(f"{path}: worker {owner} took too long") from error

    async def _is_alive(self, other: int) -> bool:
        return await self._looks.run(other, lambda: self._look(other))

    async def _is_back(self, other: int) -> None:
        log.warning("sibling.hangs", sibling=other)
        while not await self._is_alive(other):  # noqa: ASYNC110 - another process is asked
            await asyncio.sleep(LOOK_EVERY_S)
        log.info("sibling.answers", sibling=other)

    async def _look(self, other: int) -> bool:
        try:
            async with (
                asyncio.timeout(ALIVE_WITHIN_S),
                self._clients[other].get(_url(other, "/healthz")) as reply,
            ):
                return reply.status == 200
        except (PlayheadError, TimeoutError):
            return False

    async def _answer(
        self, other: int, method: str, path: str, body: bytes, within_s: float
    ) -> bytes | None:
        try:
            async with (
                asyncio.timeout(within_s),
                self._clients[other].send(method, _url(other, path), body=body or None) as reply,
            ):
                return bytes(await reply.read(size_max=ANSWER_SIZE_MAX))
        except (PlayheadError, TimeoutError) as error:
            log.warning("sibling.silent", sibling=other, path=path, detail=str(error))
            return None


def socket_of(folder: Path, index: int) -> Path:
    """Return where a worker listens for its siblings."""
    return folder / f"worker-{index}.sock"


def _url(index: int, path: str) -> str:
    return f"http://worker-{index}{path}"


class _Problem(msgspec.Struct):
    detail: str = ""


async def _detail(reply: HttpReply) -> str:
    body = await reply.read(size_max=1 << 16)
    try:
        return msgspec.json.decode(body, type=_Problem).detail
    except msgspec.DecodeError:
        return f"{reply.url}: answered {reply.status}"
