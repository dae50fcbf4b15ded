"""The worker's side of :mod:`kit.worker_processes`: take orders, be ready, end with it."""

from __future__ import annotations

import os
import signal
import sys
import threading

from kit.errors import SettingsError
from kit.worker_processes import READY

ORDERS_SIZE_MAX = 1 << 20


def take_orders() -> bytes:
    """Return the line that says what to do.

    From now on this process ends when its supervisor does.

    Raises:
        SettingsError: Nobody gave orders: it was not started by a supervisor.
    """
    orders = bytearray()
    source = sys.stdin.fileno()
    while not orders.endswith(b"\n"):
        piece = os.read(source, 1 << 16)
        orders += piece
        if not piece or len(orders) > ORDERS_SIZE_MAX:
            raise SettingsError("a worker is started by `playhead serve edge`, not by hand")
    # Not through sys.stdin: at the end of the process its lock would be held by this thread.
    threading.Thread(target=_end_with, args=(source,), name="supervisor", daemon=True).start()
    return bytes(orders[:-1])


def tell_ready() -> None:
    """Tell the supervisor that requests are served."""
    os.write(sys.stdout.fileno(), READY)


def _end_with(source: int) -> None:
    """End this process at once when ``source`` does: who is gone has let nobody drain."""
    while os.read(source, 1 << 16):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
