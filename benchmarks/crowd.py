"""Many consoles that want the same bytes: ``python -m benchmarks.crowd``, told by standard input.

Each has a connection of its own, asks once, asks again when it is told to, and throws away what
comes. Prints ``sent`` once all have asked, then what became of them.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from heapq import heappop, heappush

import msgspec

from benchmarks.files_allowed import allow_all_files

GIVE_UP_S = 120.0


class Task(msgspec.Struct, frozen=True):
    """Who asks, and for what."""

    host: str
    port: int
    requests: list[bytes]
    """One of each."""
    size: int
    per_s: int = 2000
    """So many ask within a second."""


class Outcome(msgspec.Struct):
    """What became of them; times are of the monotonic clock of this machine."""

    whole: int = 0
    told_later: int = 0
    failed: int = 0
    why: str = ""
    """Of the last that failed."""
    half_at_s: float = 0.0
    """When half of them had all bytes."""
    last_at_s: float = 0.0


class Crowd:
    """The connections, and how many bytes each has yet to get."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._poll = select.epoll()
        self._socks: dict[int, socket.socket] = {}
        self._requests: dict[int, bytes] = {}
        self._left: dict[int, int] = {}
        self._again: list[tuple[float, int]] = []
        self._scratch = bytearray(1 << 20)
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Ask and take until everybody has all, or for two minutes."""
        self._connect()
        began, asked = time.monotonic(), 0
        numbers = list(self._socks)
        while (now := time.monotonic()) < began + GIVE_UP_S and len(self._socks):
            due = min(len(self._task.requests), int((now - began) * self._task.per_s))
            for number in numbers[asked:due]:
                self._ask(number)
            if asked < due == len(self._task.requests):
                print("sent", flush=True)
            asked = due
            while self._again and self._again[0][0] <= now:
                self._ask(heappop(self._again)[1])
            for number, _ in self._poll.poll(0.01, 1024):
                self._take(number)
        self.outcome.failed += len(self._socks)
        return self.outcome

    def _connect(self) -> None:
        for request in self._task.requests:
            sock = socket.create_connection((self._task.host, self._task.port), timeout=30)
            sock.setblocking(False)
            self._socks[sock.fileno()] = sock
            self._requests[sock.fileno()] = request
            self._poll.register(sock, select.EPOLLIN)

    def _ask(self, number: int) -> None:
        if number in self._socks:
            self._socks[number].send(self._requests[number])

    def _take(self, number: int) -> None:
        try:
            if number not in self._left:
                self._begin(number)
            while left := self._left.get(number, 0):
                size = min(left, len(self._scratch))
                got = self._socks[number].recv_into(self._scratch, size, socket.MSG_TRUNC)
                if not got:
                    raise ConnectionError
                self._left[number] -= got
        except BlockingIOError:
            return
        except OSError as error:
            self.outcome.failed += 1
            self.outcome.why = str(error)
            self._close(number)
            return
        if self._left.get(number) == 0:
            self._note_whole()
            self._close(number)

    def _begin(self, number: int) -> None:
        head, _, body = self._socks[number].recv(4096).partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 200"):
            self._left[number] = self._task.size - len(body)
            return
        told = head.partition(b"\r\nRetry-After: ")[2].partition(b"\r\n")[0]
        if not head.startswith(b"HTTP/1.1 503") or not told:
            raise ConnectionError(head.decode("latin-1"))
        self.outcome.told_later += 1
        heappush(self._again, (time.monotonic() + int(told), number))

    def _note_whole(self) -> None:
        outcome = self.outcome
        outcome.whole += 1
        outcome.last_at_s = time.monotonic()
        if outcome.whole == len(self._task.requests) // 2:
            outcome.half_at_s = outcome.last_at_s

    def _close(self, number: int) -> None:
        # Kept open until the end, one connection would wait for the next one's place.
        self._left.pop(number, None)
        self._socks.pop(number).close()


def main() -> None:
    """Do what standard input says."""
    allow_all_files()
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    print(msgspec.json.encode(Crowd(task).run()).decode(), flush=True)


if __name__ == "__main__":
    main()
