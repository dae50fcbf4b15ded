"""A port is taken for several processes of ours, and from nobody else."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from kit.errors import SettingsError
from kit.shared_port import reserve


@contextmanager
def listener(port: int = 0, *, is_shared: bool) -> Iterator[int]:
    with closing(socket.socket()) as sock:
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        yield sock.getsockname()[1]


def test_workers_may_listen_on_it_together_and_nobody_is_connected_before() -> None:
    with closing(reserve("127.0.0.1", 0, "edge.listen")) as reserved:
        port = reserved.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        with listener(port, is_shared=True), listener(port, is_shared=True):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(OSError, match="in use"), listener(port, is_shared=False):
            pass


@pytest.mark.parametrize("is_shared", [True, False])
def test_one_that_somebody_listens_on_is_refused_and_the_setting_named(is_shared: bool) -> None:
    with listener(is_shared=is_shared) as port, pytest.raises(SettingsError) as refused:
        reserve("127.0.0.1", port, "edge.listen")
    assert re.search(rf"edge\.listen: .* port {port}: .*in use", str(refused.value))


def test_what_is_no_address_of_this_machine_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"edge\.listen: cannot listen on 192\.0\.2\.1"):
        reserve("192.0.2.1", 0, "edge.listen")
    with pytest.raises(SettingsError, match=r"edge\.listen\.host: '256\.1\.1\.1'"):
        reserve("256.1.1.1", 0, "edge.listen")
