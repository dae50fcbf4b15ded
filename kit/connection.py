"""One connection: who answers its next request, the fast lane or aiohttp.

aiohttp's own protocol holds some 20 KB and a task for as long as a connection is open. This one
holds a few hundred bytes, and makes aiohttp's when a request comes that needs it:

1. bytes are held until they are a whole head, within ``head_within``;
2. a usual GET or HEAD is shown to the lane; what it cannot answer at once, aiohttp is given, and
   when aiohttp is done the connection is free again;
3. when there is no time for a request it is refused, or left in the kernel for a while: see
   :mod:`kit.turns`;
4. whatever is unusual (several requests at once, bodies, ``Connection: close``, what is no HTTP)
   is given to aiohttp unchanged, and so is everything after it.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable
from enum import Enum
from typing import Protocol, cast

from aiohttp import web

from kit.buffers import BYTES, Buffer
from kit.deadlines import Deadlines
from kit.errors import PlayheadError
from kit.http_head import END, Head, HeadReader, is_one_post, may_become_head
from kit.lane import Answer, FileSpan
from kit.telemetry import get_logger
from kit.tls import FIRST_WRITE_SIZE
from kit.turns import Turns, Verdict
from kit.writability import Writability

log = get_logger("http")

HELD_SIZE_MAX = 16 << 10
"""Of a client that sends its next request before it has the answer: more is not read."""

MORE_FOLLOWS = getattr(socket, "MSG_MORE", 0)

HUNG_UP = getattr(select, "POLLRDHUP", select.POLLHUP)

CUT_SHORT = 499
"""What is counted for an answer the client did not take to its end, as in the full lane."""


class Turn(Enum):
    """Whose a connection is."""

    NOBODYS = "nobody's"
    HELD_BACKS = "nobody's, and not listened to for a while"
    LANES = "the lane's"
    AIOHTTPS = "aiohttp's, for one request"
    GIVEN_AWAY = "aiohttp's, for good"


class Handler(web.RequestHandler):
    """aiohttp's, which tells when an answer is complete."""

    __slots__ = ("is_admitted", "on_answered")

    on_answered: Callable[[], None]
    is_admitted: bool
    """Whether there was found to be time for the request that it is given next."""

    @property
    def has_head(self) -> bool:
        """Tell whether there is a whole head that it has yet to take up."""
        return bool(self._messages)

    @property
    def waits_for_head(self) -> bool:
        """Tell whether it has nothing to do until there is one."""
        return self._waiter is not None and not self._waiter.done()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send what is left of ``resp`` (called by aiohttp for every answer)."""
        answered = await super().finish_response(request, resp, start_time)
        if resp.keep_alive:
            self.on_answered()
        return answered


class Others(Protocol):
    """What the connections of a listener share."""

    name: str
    now: Callable[[], float]
    reader: HeadReader
    idle: Deadlines[Connection]
    heads: Deadlines[Connection]
    stalled: Deadlines[Connection]
    writability: Writability
    turns: Turns

    def admit(self, connection: Connection) -> bool:
        """Count a connection in, unless there are as many as there may be."""

    def left(self, connection: Connection) -> None:
        """Count it out."""

    def new_handler(self) -> Handler:
        """Return aiohttp's side of a connection."""

    def judge(self, data: bytes, now: float, *, is_newcomer: bool) -> Verdict:
        """Return whether there is time for the request that ``data`` begins."""

    def refusal(self, *, is_head: bool, is_last: bool = False) -> Answer:
        """Return what to answer when there is not; ``is_last`` if the connection ends by it."""

    def hold(self, connection: Connection) -> None:
        """Have a connection listened to again after a while."""

    def answer(self, head: Head, *, by_file: bool) -> Answer | None:
        """Return the lane's answer; None if aiohttp must give it."""

    def lane_answered(self, status: int, started: float) -> None:
        """Count an answer that the kernel took at once."""

    def lane_entered(self) -> None:
        """Count an answer in that takes longer."""

    def lane_left(self, status: int, started: float) -> None:
        """Count it out."""


class Connection(asyncio.Protocol):
    """A connection of one listener."""

    __slots__ = (
        "_all",
        "_answer",
        "_fd",
        "_handler",
        "_held",
        "_is_answered",
        "_is_given_away",
        "_is_paused",
        "_is_tls",
        "_is_watched",
        "_sent_bytes",
        "_sent_count",
        "_socket",
        "_span",
        "_started",
        "_task",
        "_transport",
        "_turn",
        "_waits",
    )

    _transport: asyncio.Transport

    def __init__(self, all_: Others) -> None:
        self._all = all_
        self._handler: Handler | None = None
        self._turn = Turn.NOBODYS
        self._held = b""
        self._is_answered = False
        self._is_given_away = False
        self._is_paused = False
        self._is_tls = False
        self._answer: Answer | None = None
        self._fd = -1
        self._socket: socket.socket | None = None
        self._span: FileSpan | None = None
        self._is_watched = False
        self._waits = False
        self._task: asyncio.Task[None] | None = None
        self._started = 0.0
        self._sent_count = 0
        self._sent_bytes = 0

    # What a transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._all.admit(self):
            # Not at once: the transport has yet to have its descriptor watched, and would do so
            # after it was closed; whoever got the same number next would not be heard.
            asyncio.get_running_loop().call_soon(self._transport.abort)
            self._turn = Turn.LANES  # what it sends meanwhile is nobody's
            return
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        if Writability.is_possible and not self._is_tls:
            self._fd = transport.get_extra_info("socket").fileno()
        # "Written" then means "the kernel has it": it survives our exit, and back-pressure is
        # felt at once. asyncio's TLS takes 0 for "always too much", and would wait for ever.
        self._transport.set_write_buffer_limits(high=int(self._is_tls), low=0)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._turn is Turn.NOBODYS:
            self._take(self._held + data if self._held else data)
        elif self._turn is Turn.GIVEN_AWAY:
            assert self._handler is not None
            self._feed(self._handler, data)
        else:
            self._held += data
            if len(self._held) > HELD_SIZE_MAX:
                self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Write no more until :meth:`resume_writing`."""
        self._is_paused = True
        self._all.stalled.begin(self, self._all.now())
        if self._turn is not Turn.LANES:
            self._tell_handler()

    def resume_writing(self) -> None:
        """Go on writing."""
        self._is_paused = False
        self._all.stalled.end(self)
        if self._turn is Turn.LANES:
            self._go_on()
        else:
            self._tell_handler()
            if self._is_answered:
                self._free()

    def eof_received(self) -> None:
        """Let the transport close: aiohttp does not answer who hung up either."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End whatever is under way."""
        if self._answer is not None:
            self._all.lane_left(CUT_SHORT, self._started)
            self._answer = None
        self._turn = Turn.GIVEN_AWAY
        if self._is_watched:
            self._all.writability.forget(self._fd)
        self._fd = -1
        if self._socket is not None:
            self._socket.detach()  # the descriptor is the transport's
            self._socket = None
        if self._span is not None:
            self._span.close()
            self._span = None
        if self._task is not None:
            self._task.cancel()
        if self._handler is not None:
            self._handler.connection_lost(exc)
        self._all.left(self)
        if self._sent_count:
            log.info(
                "connection.closed",
                service=self._all.name,
                answers=self._sent_count,
                sent_bytes=self._sent_bytes,
            )

    # What deadlines and the end of the process call.

    def abort(self) -> None:
        """Break off at once: the client is too slow, or its time is up."""
        self._transport.abort()

    def close_if_free(self) -> None:
        """Hang up, unless an answer is under way."""
        if self._turn is Turn.HELD_BACKS:
            self._transport.write(self._all.refusal(is_head=True, is_last=True).head)
            self._transport.close()
        elif self._turn is Turn.NOBODYS:
            self._transport.close()

    @property
    def is_held_back(self) -> bool:
        """Tell whether it is not listened to."""
        return self._turn is Turn.HELD_BACKS

    def abort_if_left(self) -> None:
        """Break off if the client hung up while nobody listened."""
        if self.is_held_back and not self._transport.is_closing() and self._has_left():
            self._transport.abort()

    def listen_again(self) -> None:
        """Take up what was held back, as if it had come just now."""
        if self._turn is not Turn.HELD_BACKS or self._transport.is_closing():
            return
        if self._has_left():
            self._transport.abort()
            return
        self._transport.resume_reading()
        held, self._held = self._held, b""
        if self._handler is not None and self._is_given_away:
            self._turn = Turn.GIVEN_AWAY
            self._feed(self._handler, held)
        else:
            self._turn = Turn.NOBODYS
            self._take(held)

    def _has_left(self) -> bool:
        """Tell whether the client hung up while nobody listened."""
        look = select.poll()
        look.register(self._transport.get_extra_info("socket"), HUNG_UP)
        return bool(look.poll(0))

    # Whose turn it is.

    def _take(self, data: bytes) -> None:
        end = data.find(END)
        if end < 0:
            if not may_become_head(data):
                self._give_away(data)
                return
            if not self._held:
                self._all.heads.begin(self, self._all.now())
            self._held = data
            return
        if self._held:
            self._held = b""
            self._all.heads.end(self)
        head = self._all.reader.read(data) if end + len(END) == len(data) else None
        if head is None:
            self._give_away(data)
            return
        started = self._all.now()
        if started >= self._all.turns.look_at and not self._is_admitted(
            data, started, is_head=head.is_head
        ):
            return
        answer = self._all.answer(head, by_file=self._fd >= 0)
        if answer is None:
            self._turn = Turn.AIOHTTPS
            self._all.idle.end(self)
            self._aiohttp().data_received(data)
        else:
            self._send(answer, started)

    def _give_away(self, data: bytes) -> None:
        now = self._all.now()
        is_whole = is_one_post(data)
        if now >= self._all.turns.look_at and not self._is_admitted(
            data, now, is_last=not is_whole
        ):
            return
        self._held = b""
        self._all.idle.end(self)
        self._turn = Turn.AIOHTTPS if is_whole else Turn.GIVEN_AWAY
        self._is_given_away = not is_whole
        handler = self._aiohttp()
        handler.data_received(data)
        if handler.has_head:
            self._all.heads.end(self)
        else:
            self._all.heads.begin_once(self, now)

    def _feed(self, handler: Handler, data: bytes) -> None:
        """Pass on what came after aiohttp was given the connection for good."""
        now = self._all.now()
        if handler.waits_for_head and self not in self._all.heads:
            # A request begins.
            if now >= self._all.turns.look_at and not self._is_admitted(data, now, is_last=True):
                return
            handler.is_admitted = True
        handler.data_received(data)
        if handler.waits_for_head:
            self._all.heads.begin_once(self, now)
        else:
            self._all.heads.end(self)

    def _is_admitted(
        self, data: bytes, now: float, *, is_head: bool = False, is_last: bool = False
    ) -> bool:
        """Return whether there is time for ``data``; if not, it has been dealt with.

        Where the request ends is not certain if ``is_last``: nothing may come after its answer.
        """
        is_newcomer = self._handler is None and not self._sent_count
        verdict = self._all.judge(data, now, is_newcomer=is_newcomer)
        if verdict is Verdict.SERVE:
            return True
        self._all.heads.end(self)
        if verdict is Verdict.HOLD:
            self._turn = Turn.HELD_BACKS
            self._held = data
            self._transport.pause_reading()
            self._all.hold(self)
        else:
            self._turn = Turn.NOBODYS
            self._send(self._all.refusal(is_head=is_head, is_last=is_last), now)
            if is_last:
                self._transport.close()
        return False

    def _aiohttp(self) -> Handler:
        if self._handler is None:
            self._handler = self._all.new_handler()
            self._handler.on_answered = self._on_answered
            self._handler.connection_made(self._transport)
        self._handler.is_admitted = True
        self._tell_handler()
        return self._handler

    def _tell_handler(self) -> None:
        """Let aiohttp know whether it may write, each change once."""
        if self._handler is not None and self._is_paused != self._handler.writing_paused:
            if self._is_paused:
                self._handler.pause_writing()
            else:
                self._handler.resume_writing()

    def _on_answered(self) -> None:
        if self._turn is Turn.AIOHTTPS:
            # aiohttp takes one turn of the loop more to be ready for the next request.
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._free)

    def _free(self) -> None:
        """Let whatever comes next decide again whose turn it is; it may be here already."""
        if self._turn is Turn.GIVEN_AWAY or self._transport.is_closing():
            return
        # Who was told that writing paused must be told that it goes on.
        self._is_answered = self._is_paused
        if self._is_paused:
            return
        self._turn = Turn.NOBODYS
        if self._handler is not None:
            self._handler.keep_alive(False)  # ends its own timer: from here on ours counts
        self._all.idle.begin(self, self._all.now())
        if self._held:
            held, self._held = self._held, b""
            if len(held) > HELD_SIZE_MAX:
                self._transport.resume_reading()
            self._take(held)

    # The lane's answers.

    def _send(self, answer: Answer, started: float) -> None:
        self._turn = Turn.LANES
        self._sent_count += 1
        first = answer.first
        if not isinstance(first, BYTES):
            self._send_ahead(answer.head)
            self._span = first
        elif not first:
            self._transport.write(answer.head)
        elif self._is_tls:
            self._send_begun(answer.head, first)
        else:
            self._sent_bytes += len(first)
            self._transport.writelines((answer.head, first))
        answer.first = first = b""  # its room may be used again
        if self._span is not None and not self._is_paused:
            self._send_file()
        if answer.rest is None and self._span is None and not self._is_paused:
            self._all.lane_answered(answer.status, started)
            self._turn = Turn.NOBODYS
            self._all.idle.begin(self, started)
            return
        self._all.lane_entered()
        self._all.idle.end(self)
        self._answer, self._started = answer, started
        if self._waits:
            self._all.stalled.begin(self, self._all.now())
        else:
            self._go_on()

    def _send_begun(self, head: bytes, piece: Buffer) -> None:
        """Write the beginning of an answer over TLS in a record of its own."""
        first = memoryview(piece)
        self._sent_bytes += len(first)
        self._transport.write(head + first[:FIRST_WRITE_SIZE])
        if len(first) > FIRST_WRITE_SIZE:
            self._transport.write(first[FIRST_WRITE_SIZE:])

    def _go_on(self) -> None:
        """Write what is at hand, until the kernel takes no more or something must be awaited."""
        answer = self._answer
        while answer is not None and not self._is_paused and self._task is None:
            if self._span is not None and not self._send_file():
                return
            piece = b"" if answer.rest is None else answer.rest.now()
            if piece is None:
                self._task = asyncio.create_task(self._wait_for(answer))
            elif not isinstance(piece, BYTES):
                self._span = piece
            elif piece:
                self._write(piece)
                del piece  # whoever reads the next may use its room again
            else:
                self._end()
                return

    async def _wait_for(self, answer: Answer) -> None:
        assert answer.rest is not None
        try:
            piece = await answer.rest.later()
        except PlayheadError as error:
            # Short of what was declared: the one way left to say "not whole".
            log.warning("response.aborted", code=error.code, detail=str(error))
            self._transport.abort()
            return
        self._task = None
        self._write(piece)
        self._go_on()

    def _send_ahead(self, head: bytes) -> None:
        """Send a head that a span follows at once: in one packet with it, if the kernel takes it.

        Nothing of ours is before it in the transport, for it is not paused.
        """
        if self._socket is None and not self._is_paused:
            found = self._transport.get_extra_info("socket")
            self._socket = socket.socket(found.family, found.type, found.proto, self._fd)
            self._socket.setblocking(False)
        try:
            sent = 0 if self._socket is None else self._socket.send(head, MORE_FOLLOWS)
        except OSError:
            sent = 0  # the transport will see for itself
        if sent < len(head):
            self._transport.write(head[sent:])

    def _write(self, piece: Buffer) -> None:
        self._sent_bytes += len(piece)
        self._transport.write(piece)

    def _send_file(self) -> bool:
        """Have the kernel send as much of the span as it takes now; return whether that was all.

        Nothing of ours is between the file and the socket, so the transport must be empty; it is,
        for it is not paused.
        """
        span = self._span
        assert span is not None
        if self._transport.is_closing():
            return False
        fd, file, offset, end = self._fd, span.file, span.offset, span.end
        try:
            while offset < end and (count := os.sendfile(fd, file, offset, end - offset)):
                offset += count
        except BlockingIOError:
            self._sent_bytes += offset - span.offset
            span.offset = offset
            self._wait_until_writable()
            return False
        except OSError:
            self._transport.abort()
            return False
        self._sent_bytes += offset - span.offset
        span.offset = offset
        self._span = None
        if not span.close() or offset < end:
            log.warning("response.aborted", detail="a blob was dropped while it was sent")
            self._transport.abort()
            return False
        return True

    def _wait_until_writable(self) -> None:
        self._waits = True
        if not self._is_watched:
            self._is_watched = True
            self._all.writability.watch(self._fd, self._writable)
        if self._answer is not None:
            self._all.stalled.begin(self, self._all.now())

    def _writable(self) -> None:
        if self._waits:
            self._waits = False
            self._go_on()
            if not self._waits:
                self._all.stalled.end(self)

    def _end(self) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None
        self._all.lane_left(answer.status, self._started)
        self._free()
