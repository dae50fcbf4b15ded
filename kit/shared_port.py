"""A port that several processes listen on: taken by one of them for all."""

from __future__ import annotations

import socket

from kit.errors import SettingsError


def reserve(host: str, port: int, setting: str) -> socket.socket:
    """Return a socket that has ``port`` of ``host``, or a free one if it is 0, and does not listen.

    While it is open, processes of this user may listen there if they set ``SO_REUSEPORT``.

    Raises:
        SettingsError: Somebody else listens there, or it cannot be had; names ``setting``.
    """
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise SettingsError(
            f"{setting}.host: {host!r} is no address of this machine: {error.strerror}"
        ) from error
    try:
        with socket.socket(family, kind, protocol) as alone:
            # Others who share theirs would share this one: whether there are any, only a socket
            # that does not is told.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            alone.listen(1)
            address = alone.getsockname()
        return _shared(family, kind, protocol, address)
    except OSError as error:
        raise SettingsError(
            f"{setting}: cannot listen on {host} port {port}: {error.strerror}; stop the program"
            f" that has it, or set {setting}.port to another (0 picks a free one)"
        ) from error


def _shared(
    family: int, kind: int, protocol: int, address: tuple[str, int] | tuple[str, int, int, int]
) -> socket.socket:
    shared = socket.socket(family, kind, protocol)
    try:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(address)
    except OSError:
        shared.close()
        raise
    return shared
