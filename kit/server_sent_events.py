"""Server-sent events: small named messages, one after the other, in one long HTTP answer.

Only the part that is sent here: a name and one line of data per event, and comments as signs of
life.

Source: WHATWG HTML, section 9.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from kit.errors import FormatError

CONTENT_TYPE = "text/event-stream"

BEAT = b":\n\n"
"""Means nothing but that the sender lives."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One message."""

    name: str
    data: bytes
    """Without a line break."""

    def encode(self) -> bytes:
        """Return it as it is sent."""
        assert b"\n" not in self.data
        assert b"\r" not in self.data
        return b"event: %s\ndata: %s\n\n" % (self.name.encode(), self.data)


class EventReader:
    """Takes a stream apart, however it was cut on the way."""

    def __init__(self, *, size_max: int) -> None:
        """Hold at most ``size_max`` bytes of an event that is not complete."""
        self._size_max = size_max
        self._rest = b""

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """Return the events that ``piece`` completes.

        Raises:
            FormatError: An event is too large, or this is no stream of events.
        """
        *blocks, self._rest = (self._rest + piece).split(b"\n\n")
        if max(map(len, [*blocks, self._rest])) > self._size_max:
            raise FormatError(f"an event has more than {self._size_max} bytes")
        events = [_event(block) for block in blocks]
        return [event for event in events if event is not None]


def _event(block: bytes) -> ServerEvent | None:
    """Read one block; None if it is nothing but comments."""
    fields: dict[bytes, bytes] = {}
    for line in block.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon and not name:
            continue
        if not colon or name in fields or not name.isalpha():
            raise FormatError(f"{line[:80]!r} is no line of an event")
        fields[name] = value.removeprefix(b" ")
    if not fields:
        return None
    return ServerEvent(
        fields.get(b"event", b"message").decode("utf-8", "replace"), fields.get(b"data", b"")
    )
