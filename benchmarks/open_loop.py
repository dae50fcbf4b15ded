"""Load by a schedule: requests are sent when they are due, however the server does.

``python -m benchmarks.open_loop`` reads what to do as JSON and prints what became of it. Each
connection is a client, who asks again only once it was answered; a request that is due when no
client is free is lost, as is one whose answer comes after the deadline. Bodies are thrown away by
the kernel (``MSG_TRUNC``), so that one core can ask for more than another can serve.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections import deque
from heapq import heappop, heappush

import msgspec

from benchmarks.files_allowed import allow_all_files
from benchmarks.load import cpu_s

HEAD_READ_SIZE = 4096
CHUNKS_END = b"\r\n0\r\n\r\n"
GREETING_AT_ONCE = 32
GREETINGS = 2
"""Requests on each connection before it counts: sockets learn how much they may send at once."""
LATER_S = 0.5
"""Answers are waited for after the last request was sent, beyond the deadline."""


class Task(msgspec.Struct, frozen=True):
    """What to send."""

    host: str
    port: int
    requests: list[bytes]
    connections: int
    seconds: float
    rate: float = 0.0
    """Requests a second; 0 is as many as are answered, ``at_once`` under way at any time."""
    at_once: int = 64
    deadline_s: float = 1.0
    obeys: bool = False
    """Whether a client that was told when to ask again does so."""
    pids: list[int] = []
    """Of the server, on this machine: what they use of the processor is noted."""
    warm_up_s: float = 1.0
    """Of the beginning, what is not counted."""


class Outcome(msgspec.Struct):
    """What became of requests that were due while it counted."""

    seconds: float = 0.0
    due: int = 0
    unsent: int = 0
    """Nobody was free to send them."""
    good: int = 0
    """Answered in full, in time."""
    shed: int = 0
    late: int = 0
    failed: int = 0
    server_cpu_s: float = 0.0
    busy: float = 0.0
    """Share of its core that the load itself took, waiting for it included: near 1, it was what
    could do no more."""
    latencies_us: list[int] = []

    @property
    def goodput(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds

    @property
    def good_per_cpu_s(self) -> float:
        """Good answers for each second that the server had of the processor."""
        return self.good / self.server_cpu_s

    def percentile_ms(self, share: float) -> float:
        """Return how long good answers took."""
        ordered = sorted(self.latencies_us)
        return ordered[int(share * (len(ordered) - 1))] / 1e3 if ordered else 0.0


def run(task: Task, *, core: int | None = None) -> Outcome:
    """Send ``task`` from a process of its own, on ``core`` alone if it is given.

    Raises:
        RuntimeError: It failed; the message holds its words.
    """
    words = [sys.executable, "-m", "benchmarks.open_loop"]
    if core is not None:
        words = ["taskset", "-c", str(core), *words]
    done = subprocess.run(words, input=msgspec.json.encode(task), capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-800:])
    return msgspec.json.decode(done.stdout, type=Outcome)


class Client:
    """One connection, and the request it waits for."""

    __slots__ = (
        "asked_at",
        "is_chunked",
        "left",
        "receive",
        "send",
        "sock",
        "status",
        "tail",
        "told_s",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.send = sock.send
        self.receive = sock.recv_into
        self.asked_at = 0.0
        self.left = -1
        """Bytes of the body to come; -1 before the head."""
        self.status = 0
        self.is_chunked = False
        self.tail = b""
        self.told_s = 0
        """When it may ask again, if it was refused."""


class _Run:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._scratch = bytearray(1 << 20)
        self._poll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._free: deque[Client] = deque()
        self._resting: list[tuple[float, int]] = []
        """When who was told to ask again later may, the first first."""
        self._next = 0
        self._counts_from = 0.0
        self.outcome = Outcome(latencies_us=[])

    def run(self) -> Outcome:
        task = self._task
        for _ in range(task.connections):
            self._connect()
        self._greet()
        began = time.monotonic()
        self._counts_from = began + task.warm_up_s
        ends = self._counts_from + task.seconds
        due, handled = 0, 0
        slept_s, used_from, used_to = 0.0, -1.0, -1.0
        while (now := time.monotonic()) < ends + task.deadline_s + LATER_S:
            while self._resting and self._resting[0][0] <= now:
                client = self._clients.get(heappop(self._resting)[1])
                if client is not None:
                    self._free.append(client)
            if used_from < 0 and now >= self._counts_from:
                used_from = cpu_s(task.pids)
            if used_to < 0 and now >= ends:
                used_to = cpu_s(task.pids)
            if now < ends:
                if task.rate:
                    due = int((now - began) * task.rate)
                    self._send_due(due - handled, now)
                    handled = due
                else:
                    under_way = len(self._clients) - len(self._free)
                    self._send_due(task.at_once - under_way, now)
            elif len(self._free) + len(self._resting) == len(self._clients):
                break
            slept_s += self._take(0.001 if task.rate else 0.05)
        outcome = self.outcome
        outcome.busy = 1 - slept_s / (time.monotonic() - began)
        outcome.seconds = task.seconds
        outcome.server_cpu_s = used_to - used_from
        outcome.late = outcome.due - outcome.unsent - outcome.good - outcome.shed - outcome.failed
        return outcome

    def _connect(self) -> None:
        sock = socket.create_connection((self._task.host, self._task.port), timeout=30)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = self._clients[sock.fileno()] = Client(sock)
        self._poll.register(sock, select.EPOLLIN)
        self._free.append(client)

    def _greet(self) -> None:
        """Have every connection be used, some at a time."""
        self._counts_from = float("inf")
        left = GREETINGS * len(self._clients)
        while left or len(self._free) < len(self._clients):
            under_way = len(self._clients) - len(self._free)
            count = min(left, GREETING_AT_ONCE - under_way)
            self._send_due(count, time.monotonic())
            left -= count
            self._take(1.0)

    def _send_due(self, count: int, now: float) -> None:
        requests, free = self._task.requests, self._free
        counts = now >= self._counts_from
        if counts:
            self.outcome.due += count
        for _ in range(count):
            if not free:
                if counts:
                    self.outcome.unsent += 1
                continue
            client = free.popleft()
            self._next = (self._next + 1) % len(requests)
            client.asked_at, client.left = now, -1
            try:
                client.send(requests[self._next])
            except OSError:
                self._lost(client)

    def _take(self, timeout_s: float) -> float:
        """Take what has come, and return how long it was waited for."""
        began = time.monotonic()
        events = self._poll.poll(timeout_s, 512)
        now = time.monotonic()
        for number, _ in events:
            client = self._clients.get(number)
            if client is None:
                continue
            try:
                if self._is_answered(client):
                    self._count(client, now)
            except BlockingIOError:
                continue
            except OSError:
                self._lost(client)
        return now - began

    def _is_answered(self, client: Client) -> bool:
        if client.left < 0:
            data = client.sock.recv(HEAD_READ_SIZE)
            head, found, body = data.partition(b"\r\n\r\n")
            if not found:
                raise ConnectionError
            client.status = int(head[9:12])
            lower = head.lower()
            at = lower.find(b"\r\ncontent-length: ")
            client.is_chunked = at < 0
            client.left = 0
            if at >= 0:
                client.left = int(lower[at + 18 :].partition(b"\r\n")[0]) - len(body)
            client.tail = b"\r\n" + body[-16:]
            if client.status == 503:
                told = lower.partition(b"\r\nretry-after: ")[2]
                client.told_s = int(told.partition(b"\r\n")[0] or b"1")
        if client.is_chunked:
            while not client.tail.endswith(CHUNKS_END):
                piece = client.sock.recv(1 << 20)
                if not piece:
                    raise ConnectionError
                client.tail = (client.tail + piece)[-16:]
            return True
        while client.left:
            size = client.receive(self._scratch, min(client.left, 1 << 20), socket.MSG_TRUNC)
            if not size:
                raise ConnectionError
            client.left -= size
        return True

    def _count(self, client: Client, now: float) -> None:
        outcome, took_s = self.outcome, now - client.asked_at
        if client.asked_at >= self._counts_from:
            if client.status == 503:
                outcome.shed += 1
            elif client.status not in (200, 206):
                outcome.failed += 1
            elif took_s <= self._task.deadline_s:
                outcome.good += 1
                outcome.latencies_us.append(int(took_s * 1e6))
        if client.status == 503 and self._task.obeys:
            heappush(self._resting, (now + client.told_s, client.sock.fileno()))
        else:
            self._free.append(client)

    def _lost(self, client: Client) -> None:
        if client.asked_at >= self._counts_from:
            self.outcome.failed += 1
        del self._clients[client.sock.fileno()]
        client.sock.close()
        self._connect()


def main() -> None:
    """Do what standard input says."""
    allow_all_files()
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    sys.stdout.buffer.write(msgspec.json.encode(_Run(task).run()))


if __name__ == "__main__":
    main()
