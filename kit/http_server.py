"""What every HTTP service does the same way: limits, traces, problem documents, one log line.

The middlewares, outermost first:

1. :func:`observe` gives the request a trace, logs one canonical line and counts it;
2. :func:`problems` turns whatever is raised into an RFC 9457 problem document;
3. :func:`admit` refuses what is too much, or has more than one spelling.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, Counter, Gauge
from structlog.contextvars import bound_contextvars
from yarl import URL

from kit import trace
from kit.errors import InvalidInput, PlayheadError, Unauthenticated, Unavailable
from kit.http_settings import ListenSettings
from kit.tallies import Count, Spread, Tally, Timings
from kit.telemetry import get_logger
from kit.turns import Turns, Verdict

log = get_logger("http")

SERVER = "playhead"
OPERATOR_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Answered however busy the process is: whoever asks wants to know just that."""

RETRY_AFTER_S = 1


class BadRequest(InvalidInput):
    """The request itself is wrong, whatever it asks for."""

    code = "bad-request"
    status = 400


class Overloaded(Unavailable):
    """This process serves as many requests as it may."""

    code = "overloaded"


@dataclass(slots=True)
class ServerState:
    """What the middlewares of one listener share."""

    settings: ListenSettings
    metrics: ServerMetrics
    is_draining: bool = False
    running: int = 0
    """Requests being served, without those of operators."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while none is."""
    turns: Turns | None = None
    """Says whether there is time for more; None before anything listens."""
    operator_prefixes: tuple[str, ...] = ()
    """Paths that begin so are operators', whom a busy process has to answer as well."""

    def __post_init__(self) -> None:
        self.idle.set()
        self.metrics.running.set_function(lambda: self.running)

    def enter(self) -> None:
        """Count a request in.

        Raises:
            Overloaded: There are as many as there may be.
        """
        if self.running >= self.settings.requests_max:
            raise Overloaded(f"{self.running} requests are being served, the most there may be")
        self.running += 1
        self.idle.clear()

    def check_time(self, now: float) -> None:
        """Do nothing if there is time for one more request.

        Raises:
            Overloaded: There is not.
        """
        if self.turns is None or now < self.turns.look_at or self.is_draining:
            return
        if self.turns.judge(now) is not Verdict.SERVE:
            self.metrics.shed.of("no-time").inc()
            raise Overloaded("more is asked for than can be served")

    def leave(self) -> None:
        """Count a request out."""
        self.running -= 1
        if not self.running:
            self.idle.set()


STATE: web.AppKey[ServerState] = web.AppKey("server_state", ServerState)


@dataclass(slots=True)
class ServerMetrics:
    """How many requests, how long, how many at once."""

    component: str
    registry: CollectorRegistry
    requests: Tally = field(init=False)
    seconds: Timings = field(init=False)
    running: Gauge = field(init=False)
    connections: Gauge = field(init=False)
    closed: Counter = field(init=False)
    by_lane: Tally = field(init=False)
    _seconds: Spread = field(init=False)
    shed: Tally = field(init=False)
    turns: Timings = field(init=False)
    overloaded: Gauge = field(init=False)
    _by_status: dict[int, Count] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        name, registry = f"playhead_{self.component}_http", self.registry
        self.requests = Tally(
            f"{name}_requests_total", "Answers by status.", "status", registry=registry
        )
        self.seconds = Timings(
            f"{name}_request_seconds", "Until the last byte was taken.", registry=registry
        )
        self._seconds = self.seconds.of()
        self.running = Gauge(f"{name}_requests_running", "Being served.", registry=registry)
        self.connections = Gauge(f"{name}_connections", "Open, idle ones too.", registry=registry)
        self.closed = Counter(
            f"{name}_connections_closed_total",
            "Closed by us, by reason: shed, idle, slow head, stalled.",
            ["reason"],
            registry=registry,
        )
        self.by_lane = Tally(
            f"{name}_fast_lane_total", "Answers that needed no aiohttp.", registry=registry
        )
        self.shed = Tally(
            f"{name}_shed_total",
            "Requests refused by reason: no time, left unread for a while, too many running.",
            "reason",
            registry=registry,
        )
        self.turns = Timings(
            f"{name}_turn_seconds",
            "A turn of the event loop: so long requests wait to be looked at.",
            registry=registry,
        )
        self.overloaded = Gauge(
            f"{name}_overloaded",
            "1 while requests are refused for want of time.",
            registry=registry,
        )

    def count(self, status: int, elapsed_s: float) -> None:
        """Count an answer, and how long it took."""
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = self.requests.of(str(status))
        counter.inc()
        self._seconds.observe(elapsed_s)


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request a trace; log and count it once, whatever its outcome."""
    state = request.app[STATE]
    here = trace.follow(request.headers.get("traceparent"))
    trace.current.set(here)
    started, status, sent_bytes = time.perf_counter(), 499, 0
    with bound_contextvars(trace_id=here.trace_id):
        try:
            response = await handler(request)
            status = response.status
            # A streamed answer has been sent by now, a small one is sent after this line.
            sent_bytes = request.writer.output_size or response.content_length or 0
            return response
        finally:
            elapsed_s = time.perf_counter() - started
            state.metrics.count(status, elapsed_s)
            log.info(
                "request.served",
                service=state.metrics.component,
                method=request.method,
                path=request.raw_path,
                status=status,
                sent_bytes=sent_bytes,
                ms=round(elapsed_s * 1e3, 2),
            )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what is raised into a problem document; the only place that does."""
    try:
        return await handler(request)
    except PlayheadError as error:
        return problem(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = error.reason.lower().replace(" ", "-")
        kept = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _problem(code, error.status, error.reason, kept)
    except ConnectionError:
        raise  # the client left; there is nobody to tell
    except Exception:
        log.exception("request.failed", path=request.raw_path)
        return _problem("internal", 500, "a bug of ours; the log has it under this trace", {})


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in a limited number of requests, each in the one spelling it has."""
    if request.path in OPERATOR_PATHS:
        return await handler(request)
    state = request.app[STATE]
    if is_from_sibling(request):
        return await handler(request)  # it was admitted where it came in
    _check_target(request.raw_path, request.rel_url)
    if request.method in {"GET", "HEAD"} and request.body_exists:
        raise BadRequest(f"{request.method} with a body has no meaning")
    if request.path.startswith(state.operator_prefixes):
        return await handler(request)
    if not _was_admitted(request):
        state.check_time(asyncio.get_running_loop().time())
    state.enter()
    try:
        return await handler(request)
    finally:
        state.leave()


async def sign(request: web.Request, response: web.StreamResponse) -> None:
    """Say in every answer who sends it and in which trace; and, when draining, that it is the last.

    A signal of the application (``on_response_prepare``).
    """
    response.headers["Server"] = SERVER
    here = trace.current.get()
    if here is not None:
        response.headers["traceparent"] = here.header
    if request.app[STATE].is_draining:
        response.force_close()
        response.headers["Connection"] = "close"


class ProtocolLog(logging.Handler):
    """Logs what aiohttp says of requests that never became one: an event each, no traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log ``record``."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ConnectionError):
            return  # the client left; the request's own line says 499
        if isinstance(error, HttpProcessingError):
            log.info("request.malformed", status=error.code, detail=error.message[:200])
        else:
            log.error("protocol.failed", detail=record.getMessage(), exc_info=record.exc_info)


def protocol_logger() -> logging.Logger:
    """Return the logger to give to aiohttp."""
    logger = logging.Logger("playhead.http", logging.WARNING)
    logger.addHandler(ProtocolLog())
    return logger


def problem(error: PlayheadError, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return ``error`` as a problem document."""
    extra = dict(headers or {})
    if error.retryable:
        extra["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, Unauthenticated):
        extra["WWW-Authenticate"] = error.challenge
    response = _problem(error.code, error.status, str(error), extra)
    if isinstance(error, BadRequest):
        response.force_close()  # where this request ends is not certain
    return response


def is_from_sibling(request: web.Request) -> bool:
    """Tell whether another process of this node asks, over a socket that only they can reach."""
    transport = request.transport
    sock = None if transport is None else transport.get_extra_info("socket")
    return sock is not None and sock.family == socket.AF_UNIX


def refuse_query(request: web.Request) -> None:
    """Do nothing if ``request`` has no query: a thing with one name has one cache key.

    Raises:
        BadRequest: It has one, be it empty.
    """
    if "?" in request.raw_path:
        raise BadRequest(f"{request.path} takes no query")


def _was_admitted(request: web.Request) -> bool:
    """Tell whether there was found to be time for ``request`` when it came: that is said once."""
    protocol: Any = request.protocol
    was_admitted = bool(getattr(protocol, "is_admitted", False))
    if was_admitted:
        protocol.is_admitted = False  # of those that were sent with it, that was not said
    return was_admitted


def _problem(code: str, status: int, detail: str, headers: dict[str, str]) -> web.Response:
    here = trace.current.get()
    body = {
        "type": f"urn:playhead:error:{code}",
        "code": code,
        "status": status,
        "detail": detail,
        "trace_id": here.trace_id if here else None,
    }
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store", **headers},
    )


def _check_target(raw: str, url: URL) -> None:
    """Do nothing if ``raw`` is how we would write ``url`` ourselves.

    Raises:
        BadRequest: It has a host, a fragment, dot segments, or needless or missing escapes; a
            cache and the server behind it could read it differently.
    """
    if not raw.startswith("/") or "#" in raw:
        raise BadRequest(f"request target {raw[:200]!r}: expected a path from '/' on")
    path, question_mark, _ = raw.partition("?")
    ours = str(URL.build(path=url.path)) if url.raw_path.isascii() else None
    if path != ours or any(part in {".", ".."} for part in path.split("/")) or "//" in path:
        raise BadRequest(f"request target {raw[:200]!r} is not in its canonical spelling")
    if question_mark and not raw.isascii():
        raise BadRequest(f"request target {raw[:200]!r}: expected ASCII")
