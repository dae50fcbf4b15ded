"""A link that is long and narrow: a proxy that delays both ways and paces each connection.

    python -m benchmarks.slow_link PORT ROUND_TRIP_MS BYTES_PER_S

It prints the port it listens on, and for each line on its input how many bytes it has carried
from PORT since the last one. Connections are open at once: what is measured are servers that keep
theirs.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

PIECE_SIZE = 16 << 10
BUFFER_SIZE = 256 << 10
"""What is under way on one connection at most: more than it carries in a round trip."""


@dataclass
class SlowLink:
    """A link that runs."""

    port: int
    _child: subprocess.Popen[str]

    def carried_size(self) -> int:
        """Return how many bytes came back since this was asked last."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()
        return int(self._child.stdout.readline())


@contextmanager
def running_slow_link(port: int, *, round_trip_ms: float, bytes_per_s: float) -> Iterator[SlowLink]:
    """Carry to ``port`` of this machine, until the block is left."""
    words = [sys.executable, "-m", "benchmarks.slow_link", str(port), str(round_trip_ms)]
    child = subprocess.Popen(
        [*words, str(bytes_per_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        yield SlowLink(int(child.stdout.readline()), child)
    finally:
        child.kill()
        child.wait(10)


class _Link:
    def __init__(self, port: int, delay_s: float, bytes_per_s: float) -> None:
        self._port = port
        self._delay_s = delay_s
        self._bytes_per_s = bytes_per_s
        self.carried = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        with suppress(ConnectionError):
            await asyncio.gather(
                self._carry(reader, far_writer, float("inf")),
                self._carry(far_reader, writer, self._bytes_per_s),
            )

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_per_s: float
    ) -> None:
        """Deliver each piece once the line is free, and it has travelled."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(BUFFER_SIZE // PIECE_SIZE)
        delivering = asyncio.create_task(self._deliver(on_the_way, writer))
        loop, free_at = asyncio.get_running_loop(), 0.0
        try:
            while piece := await reader.read(PIECE_SIZE):
                free_at = max(free_at, loop.time()) + len(piece) / bytes_per_s
                await on_the_way.put((free_at + self._delay_s, piece))
                if bytes_per_s != float("inf"):
                    self.carried += len(piece)
            await on_the_way.put((loop.time() + self._delay_s, b""))
            await delivering
        finally:
            delivering.cancel()
            writer.close()

    async def _deliver(
        self, on_the_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, piece = await on_the_way.get()
            await asyncio.sleep(due - loop.time())
            if not piece:
                return
            writer.write(piece)
            await writer.drain()


async def _main(port: int, round_trip_ms: float, bytes_per_s: float) -> None:
    link = _Link(port, round_trip_ms / 2000, bytes_per_s)
    server = await asyncio.start_server(link.serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    told = 0

    def answer() -> None:
        nonlocal told
        carried = link.carried
        print(carried - told, flush=True)
        told = carried

    loop = asyncio.get_running_loop()

    def listen() -> None:
        for _ in sys.stdin:
            loop.call_soon_threadsafe(answer)

    threading.Thread(target=listen, daemon=True).start()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
