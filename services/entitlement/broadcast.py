"""Hand news to everyone who listens, waiting for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from kit.errors import Unavailable


class ListenersFull(Unavailable):
    """As many listen as may."""

    code = "listeners-full"


class Listener:
    """What one listener has not taken yet."""

    def __init__(self, waiting_max: int) -> None:
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(waiting_max)
        self.is_behind = False
        """Whether it missed something: it must begin anew."""

    def offer(self, piece: bytes) -> None:
        """Add to what is to be taken; a listener that takes too slowly misses it."""
        if self._waiting.full():
            self.is_behind = True
        else:
            self._waiting.put_nowait(piece)

    async def next_within(self, wait_s: float) -> bytes | None:
        """Return the next piece, or None if there is none for ``wait_s`` seconds."""
        try:
            async with asyncio.timeout(wait_s):
                return await self._waiting.get()
        except TimeoutError:
            return None


class Broadcast:
    """All listeners. Belongs to one event loop."""

    def __init__(self, *, listeners_max: int, waiting_max: int) -> None:
        """Let at most ``listeners_max`` in, each at most ``waiting_max`` pieces behind."""
        self._listeners: set[Listener] = set()
        self._listeners_max = listeners_max
        self._waiting_max = waiting_max

    def __len__(self) -> int:
        return len(self._listeners)

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Listen while inside the block.

        Raises:
            ListenersFull: As many do as may.
        """
        if len(self._listeners) >= self._listeners_max:
            raise ListenersFull(f"{len(self._listeners)} nodes listen, the most there may be")
        listener = Listener(self._waiting_max)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def tell(self, piece: bytes) -> None:
        """Give ``piece`` to all listeners."""
        for listener in self._listeners:
            listener.offer(piece)
