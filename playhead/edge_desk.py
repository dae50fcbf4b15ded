"""The operator's side of an edge: asks its API, and follows a warm to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from edge.operating.messages import (
    Drained,
    DrainRequest,
    Explanation,
    Pinned,
    PinRequest,
    Purged,
    PurgeRequest,
    Status,
    Warm,
    WarmRequest,
)
from kit.errors import FormatError, InvalidInput, Unavailable
from kit.http_client import HttpClient
from kit.http_problem import problem_of
from kit.server_sent_events import EventReader
from kit.units import Seconds
from playhead.local_secrets import OPERATOR_FILE, local_secret
from playhead.settings import Settings

T = TypeVar("T")

ANSWER_SIZE_MAX = 16 << 20
EVENT_SIZE_MAX = 1 << 20
GONE_S_MAX = 60.0
"""An edge that is restarted is waited for so long: its warms go on by themselves."""
PAUSE_S = 1.0


class EdgeDesk:
    """Asks one edge, as its operator."""

    def __init__(self, settings: Settings, client: HttpClient, url: str) -> None:
        listen = settings.edge.listen
        host = "127.0.0.1" if listen.host in ("0.0.0.0", "::") else listen.host  # noqa: S104
        self._url = url.rstrip("/") or f"http://{host}:{listen.port}"
        self._settings = settings
        self._client = client

    async def status(self) -> Status:
        """Return what the edge is doing."""
        return await self._asked("GET", "status", None, Status)

    async def explain(self, what: str) -> Explanation:
        """Return where an object is, and if nowhere, why.

        Raises:
            InvalidInput: It is no object's id, path or URL.
        """
        return await self._asked("GET", f"explain/{_path_of(what)}", None, Explanation)

    async def warms(self) -> list[Warm]:
        """Return every warm that is remembered, the oldest first."""
        return await self._asked("GET", "warms", None, list[Warm])

    async def begin_warm(self, request: WarmRequest) -> Warm:
        """Begin a warm, or join the one that does the same.

        Raises:
            InvalidInput: It names no release.
            Conflict: As many are under way as may be.
        """
        return await self._asked("POST", "warms", request, Warm)

    async def cancel_warm(self, warm_id: str) -> Warm:
        """End a warm.

        Raises:
            NotFound: There is none of that id.
        """
        return await self._asked("DELETE", f"warms/{warm_id}", None, Warm)

    async def follow(self, warm: Warm, told: Callable[[Warm], None]) -> Warm:
        """Tell of a warm until it is over; return it as it is then.

        Raises:
            Unavailable: The edge is gone for longer than a restart takes.
        """
        heard_at = asyncio.get_running_loop().time()
        while True:
            try:
                async with aclosing(self._events(warm.warm_id)) as events:
                    async for latest in events:
                        heard_at = asyncio.get_running_loop().time()
                        told(latest)
                        if latest.phase.is_over:
                            return latest
            except Unavailable:
                if asyncio.get_running_loop().time() - heard_at > GONE_S_MAX:
                    raise
            await asyncio.sleep(PAUSE_S)

    async def purge(self, request: PurgeRequest) -> Purged:
        """Drop from the cache, or say what would be.

        Raises:
            InvalidInput, NotFound, Unavailable: What is meant cannot be found out.
        """
        return await self._asked("POST", "purge", request, Purged)

    async def pin(self, request: PinRequest) -> Pinned:
        """Keep in the cache what is in it, or let it go.

        Raises: as :meth:`purge`.
        """
        return await self._asked("POST", "pins", request, Pinned)

    async def drain(self, *, draining: bool) -> Drained:
        """Have the edge take no more traffic, or take it again."""
        return await self._asked("POST", "drain", DrainRequest(draining=draining), Drained)

    async def _asked(self, method: str, path: str, body: object, kind: type[T]) -> T:
        content = None if body is None else msgspec.json.encode(body)
        url = f"{self._url}/edge/v1/{path}"
        headers = await self._headers()
        async with self._client.send(method, url, headers=headers, body=content) as reply:
            if reply.status >= 400:
                raise await problem_of(reply)
            answer = await reply.read(size_max=ANSWER_SIZE_MAX)
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"{url}: not answered by an edge of this version: {error}") from error

    async def _events(self, warm_id: str) -> AsyncGenerator[Warm, None]:
        """Yield a warm as it changes, until it is over or the connection breaks."""
        reader = EventReader(size_max=EVENT_SIZE_MAX)
        url = f"{self._url}/edge/v1/warms/{warm_id}/events"
        async with self._client.get(url, headers=await self._headers()) as reply:
            if reply.status >= 400:
                raise await problem_of(reply)
            async for piece in reply.pieces():
                try:
                    for event in reader.feed(piece):
                        yield msgspec.json.decode(event.data, type=Warm)
                except (FormatError, msgspec.DecodeError) as error:
                    raise Unavailable(f"{url}: no events of an edge: {error}") from error

    async def _headers(self) -> dict[str, str]:
        secret = await asyncio.to_thread(local_secret, self._settings, OPERATOR_FILE)
        return {"Authorization": f"Bearer {secret}"}


def moment_of(text: str, now_s: float) -> float:
    """Read a moment: how far ahead (``12h``, ``2d``), or when (RFC 3339).

    Raises:
        InvalidInput: It is neither, or not ahead.
    """
    try:
        found = now_s + float(Seconds.parse(text))
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise InvalidInput(
                f"{text!r}: expected how long, such as 12h or 2d, or when, such as"
                " 2026-12-01T18:00:00Z"
            ) from error
        found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if found <= now_s:
        raise InvalidInput(f"{text!r} is over already")
    return found


def _path_of(what: str) -> str:
    """Return what stands after ``/explain/``: a URL's path without its first slash, or an id."""
    _, scheme, rest = what.partition("://")
    return (rest.partition("/")[2] if scheme else what).lstrip("/")
