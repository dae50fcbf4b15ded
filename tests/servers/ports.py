"""Ports that nobody else will take between asking for them and listening on them."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

# Below 32768, where Linux takes the ports of outgoing connections from.
LOWEST, HIGHEST = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports on 127.0.0.1 that nothing listens on."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            port = random.randint(LOWEST, HIGHEST)
            listener = held.enter_context(socket.socket())
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    return ports
