"""Tells who waits for a socket when it takes more, at no system call per wait.

asyncio watches a transport's descriptor for that transport alone, and a watch that begins and
ends for each answer costs two calls of the kernel. Here a socket is watched once, at its edges:
the kernel tells of it each time it takes more after it took no more. The watch itself is one
descriptor in the loop.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

EVENTS_MAX = 256
"""Told at once; the rest in the next turn of the loop."""


class Writability:
    """Watches of one event loop. Linux alone has it: see :attr:`is_possible`."""

    is_possible = hasattr(select, "epoll")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._told: dict[int, Callable[[], None]] = {}
        self._epoll: select.epoll | None = None

    def watch(self, file: int, tell: Callable[[], None]) -> None:
        """Call ``tell`` from now on whenever the socket ``file`` takes more, until ``forget``.

        It may be called when nobody waits: once at first, and after a hang-up.
        """
        if self._epoll is None:
            self._epoll = select.epoll()
            self._loop.add_reader(self._epoll.fileno(), self._look)
        self._told[file] = tell
        self._epoll.register(file, select.EPOLLOUT | select.EPOLLET)

    def forget(self, file: int) -> None:
        """End a watch, before the socket is closed."""
        del self._told[file]
        if self._epoll is not None:
            self._epoll.unregister(file)

    def close(self) -> None:
        """Watch no more."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _look(self) -> None:
        assert self._epoll is not None
        for file, _ in self._epoll.poll(0, EVENTS_MAX):
            tell = self._told.get(file)
            if tell is not None:  # forgotten by what another was told just now
                tell()
