"""Room that is used again is never taken from under a view that somebody holds."""

from __future__ import annotations

from kit.buffers import Scratch


def test_room_is_the_same_again_once_its_views_are_gone() -> None:
    scratch = Scratch(1 << 16)
    room = scratch.room(10)
    room[:] = b"0123456789"
    del room
    assert bytes(scratch.room(4)) == b"0123"


def test_what_is_held_is_not_written_over() -> None:
    scratch = Scratch(16)
    room = scratch.room(4)
    room[:] = b"mine"
    held = room[1:3]
    del room
    scratch.room(4)[:] = b"next"
    assert bytes(held) == b"in"
