"""Sockets that listen, with the options they pass on to whatever they accept.

On Linux an accepted socket inherits ``TCP_NODELAY`` and ``TCP_CONGESTION`` from the one that
listens, so both are set once and cost no system call per connection.
"""

from __future__ import annotations

import errno
import resource
import socket

from kit.errors import SettingsError
from kit.http_settings import ListenSettings
from kit.telemetry import get_logger

log = get_logger("sockets")

NAME_SIZE_MAX = 16
"""Of a congestion control, the closing zero included: ``TCP_CA_NAME_MAX`` of Linux."""

FILES_BESIDE_CONNECTIONS = 128
"""Descriptors for logs, storage, upstreams and the like."""


def open_sockets(settings: ListenSettings, setting: str) -> list[socket.socket]:
    """Bind a socket for each address that ``settings.host`` has; they listen once they are served.

    All have one port. Looks the host up, which may block.

    Args:
        settings: What to listen on.
        setting: What errors call it, as ``edge.listen``.

    Raises:
        SettingsError: The address cannot be had; the message names its setting.
    """
    host, port = settings.host, settings.port
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(
            f"{setting}.host: {host!r} is no address of this machine: {told}"
        ) from error
    opened: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            opened.append(sock)
            _set_options(sock, settings, setting)
            # The first one picks a free port, the others take the same.
            bound = opened[0].getsockname()[1] if port == 0 and len(opened) > 1 else port
            sock.bind((address[0], bound, *address[2:]))
    except OSError as error:
        for sock in opened:
            sock.close()
        raise SettingsError(advice(setting, host, port, error)) from error
    return opened


def congestion_of(sock: socket.socket) -> str:
    """Return the congestion control in force on ``sock``; empty where the system does not say."""
    option = getattr(socket, "TCP_CONGESTION", None)
    if option is None:
        return ""
    try:
        name = sock.getsockopt(socket.IPPROTO_TCP, option, NAME_SIZE_MAX)
    except OSError:
        return ""
    return name.rstrip(b"\0").decode("ascii", errors="replace")


def allow_files(connections_max: int) -> None:
    """Let this process open as many files as the system permits, and warn if those are too few.

    The soft limit of most systems, 1024, is for programs that use ``select``; ours do not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = connections_max + FILES_BESIDE_CONNECTIONS
    if hard != resource.RLIM_INFINITY and hard < needed:
        log.warning("files.few", files_max=hard, needed=needed, connections_max=connections_max)


def _set_options(sock: socket.socket, settings: ListenSettings, setting: str) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if settings.reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if settings.congestion:
        _set_congestion(sock, settings.congestion, setting)


def _set_congestion(sock: socket.socket, name: str, setting: str) -> None:
    option = getattr(socket, "TCP_CONGESTION", None)
    why = "this system has no such option"
    if option is not None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, option, name.encode())
        except OSError as error:
            why = str(error)
        else:
            return
    # Slower is better than not at all: what is in force is logged where listening begins.
    log.warning("congestion.refused", setting=f"{setting}.congestion", name=name, why=why)


def advice(setting: str, host: str, port: int, error: OSError) -> str:
    """Say what to do about an address, set as ``setting``, that cannot be listened on."""
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"{setting}.port: port {port} on {host} is in use; stop the program that has it, "
                f"or set {setting}.port to another (0 picks a free one)"
            )
        case errno.EADDRNOTAVAIL:
            return f"{setting}.host: {host!r} is no address of this machine"
        case errno.EACCES:
            return f"{setting}.port: port {port} needs rights this user lacks; take one above 1023"
        case _:
            return f"{setting}: cannot listen on {host} port {port}: {error}"
