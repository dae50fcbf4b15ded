"""Sockets that listen, and what those they accept inherit."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pytest

from kit.errors import SettingsError
from kit.http_settings import ListenSettings
from kit.sockets import congestion_of, open_sockets

pytestmark = pytest.mark.may_block


def opened(stack: ExitStack, settings: ListenSettings) -> list[socket.socket]:
    return [stack.enter_context(sock) for sock in open_sockets(settings, "edge.listen")]


def accepted(stack: ExitStack, listening: socket.socket) -> socket.socket:
    """Connect to ``listening`` and return its side of the connection."""
    listening.listen()
    listening.setblocking(True)
    stack.enter_context(socket.create_connection(listening.getsockname()[:2]))
    return stack.enter_context(listening.accept()[0])


def available() -> list[str]:
    return Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()


def test_what_is_accepted_sends_small_writes_at_once() -> None:
    with ExitStack() as stack:
        [listening] = opened(stack, ListenSettings())
        sock = accepted(stack, listening)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("name", ["cubic", "bbr", "reno"])
def test_what_is_accepted_sends_by_the_congestion_control_that_was_set(
    name: Literal["cubic", "bbr", "reno"],
) -> None:
    if name not in available():
        pytest.skip(f"this kernel has no {name}")
    with ExitStack() as stack:
        [listening] = opened(stack, ListenSettings(congestion=name))
        assert congestion_of(accepted(stack, listening)) == name


def test_one_the_kernel_lacks_is_logged_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # An option that no kernel has stands for a name that this one may well have.
    monkeypatch.setattr(socket, "TCP_CONGESTION", 9999)
    with ExitStack() as stack:
        [listening] = opened(stack, ListenSettings(congestion="bbr"))
        assert congestion_of(listening) == ""
    assert "edge.listen.congestion" in capfd.readouterr().out


def test_several_processes_may_share_a_port_only_if_told_so() -> None:
    with ExitStack() as stack:
        [first] = opened(stack, ListenSettings(reuse_port=True))
        port = first.getsockname()[1]
        [second] = opened(stack, ListenSettings(reuse_port=True, port=port))
        first.listen()
        second.listen()
        assert second.getsockname() == first.getsockname()
        with pytest.raises(SettingsError, match=r"edge\.listen\.port: port .* is in use"):
            opened(stack, ListenSettings(port=port))


def test_a_host_with_several_addresses_has_one_port_on_all_of_them() -> None:
    with ExitStack() as stack:
        sockets = opened(stack, ListenSettings(host="localhost"))
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert len({sock.family for sock in sockets}) == len(sockets)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.1", "a..b"])
def test_a_host_that_is_not_this_machine_is_named(host: str) -> None:
    with pytest.raises(SettingsError, match=rf"edge\.listen\.host: '{host}' is no address"):
        open_sockets(ListenSettings(host=host), "edge.listen")
