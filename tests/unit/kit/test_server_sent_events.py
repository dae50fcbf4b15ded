"""Server-sent events: written and read, however they are cut; what is none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import FormatError
from kit.server_sent_events import BEAT, EventReader, ServerEvent

LINES = st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b""))
EVENTS = st.builds(ServerEvent, st.sampled_from(["revoked", "current"]), LINES)


@given(st.lists(EVENTS, max_size=8), st.integers(1, 50), st.booleans())
def test_events_come_back_however_the_stream_is_cut(
    events: list[ServerEvent], step: int, has_beats: bool
) -> None:
    stream = b"".join(event.encode() + (BEAT if has_beats else b"") for event in events)
    reader = EventReader(size_max=200)
    found = [
        event for at in range(0, len(stream), step) for event in reader.feed(stream[at : at + step])
    ]
    assert found == events


def test_nothing_is_held_beyond_the_limit() -> None:
    reader = EventReader(size_max=64)
    with pytest.raises(FormatError, match="more than 64 bytes"):
        reader.feed(b"data: " + b"x" * 64)


@pytest.mark.parametrize("stream", [b"<html>\n\n", b"data: 1\ndata: 2\n\n", b"a b: c\n\n"])
def test_what_is_no_stream_of_ours_is_refused(stream: bytes) -> None:
    with pytest.raises(FormatError):
        EventReader(size_max=64).feed(stream)
