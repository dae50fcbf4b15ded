"""Whoever waits for a socket is told each time it takes more, and never after that."""

from __future__ import annotations

import asyncio
import socket

import pytest

from kit.writability import Writability
from tests.polling import eventually

pytestmark = pytest.mark.skipif(not Writability.is_possible, reason="the system has no epoll")


def fill(sock: socket.socket) -> int:
    size = 0
    try:
        while True:
            size += sock.send(bytes(1 << 16))
    except BlockingIOError:
        return size


async def drain(sock: socket.socket, size: int) -> None:
    loop = asyncio.get_running_loop()
    while size:
        size -= len(await loop.sock_recv(sock, 1 << 16))


async def test_one_is_told_each_time_a_socket_takes_more() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        writability, told = Writability(asyncio.get_running_loop()), asyncio.Event()
        size = fill(ours)
        writability.watch(ours.fileno(), told.set)
        for _ in range(3):
            told.clear()
            await drain(theirs, size)
            await asyncio.wait_for(told.wait(), 10)
            size = fill(ours)
        writability.forget(ours.fileno())
        writability.close()


async def test_who_is_forgotten_while_others_are_told_hears_nothing() -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    writability = Writability(asyncio.get_running_loop())
    told: list[int] = []

    def tell(index: int) -> None:
        told.append(index)
        writability.forget(pairs[1 - index][0].fileno())

    for index, (ours, _) in enumerate(pairs):
        ours.setblocking(False)
        writability.watch(ours.fileno(), lambda index=index: tell(index))  # type: ignore[misc]
    await eventually(lambda: _is_one(told))
    await asyncio.sleep(0)
    assert len(told) == 1
    writability.close()
    for pair in pairs:
        for sock in pair:
            sock.close()


async def _is_one(told: list[int]) -> bool:
    return len(told) == 1
