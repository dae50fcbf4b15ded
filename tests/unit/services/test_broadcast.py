"""News to everyone, waiting for nobody."""

from __future__ import annotations

import pytest

from services.entitlement.broadcast import Broadcast, ListenersFull


async def test_everyone_hears_everything_in_order() -> None:
    broadcast = Broadcast(listeners_max=2, waiting_max=4)
    with broadcast.listening() as one, broadcast.listening() as two:
        broadcast.tell(b"1")
        broadcast.tell(b"2")
        assert [await one.next_within(1), await one.next_within(1)] == [b"1", b"2"]
        assert await two.next_within(1) == b"1"
        assert not one.is_behind


async def test_silence_ends_a_wait() -> None:
    with Broadcast(listeners_max=1, waiting_max=1).listening() as listener:
        assert await listener.next_within(0.001) is None


async def test_whoever_takes_too_slowly_is_told_to_begin_anew_and_holds_up_nobody() -> None:
    broadcast = Broadcast(listeners_max=2, waiting_max=1)
    with broadcast.listening() as slow, broadcast.listening() as quick:
        broadcast.tell(b"1")
        await quick.next_within(1)
        broadcast.tell(b"2")
        assert slow.is_behind
        assert not quick.is_behind


async def test_there_is_a_limit_and_a_place_that_is_left_is_free() -> None:
    broadcast = Broadcast(listeners_max=1, waiting_max=1)
    with broadcast.listening(), pytest.raises(ListenersFull), broadcast.listening():
        pass
    with broadcast.listening():
        assert len(broadcast) == 1
