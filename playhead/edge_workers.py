"""An edge of several processes: what starts them, and what each of them is told."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import closing

import msgspec
from msgspec.structs import replace

from edge.crew import Crew, new_node_name
from edge.passage import NodeName
from kit.clock import SystemClock
from kit.settings import dump
from kit.shared_port import reserve
from kit.telemetry import get_logger
from kit.worker_processes import Plan, Supervisor, WorkerFailed
from playhead.settings import Settings

log = get_logger("workers")

WORDS = (sys.executable, "-m", "playhead.edge_worker")


class Orders(msgspec.Struct, frozen=True):
    """What a worker is told, on one line of JSON."""

    index: int
    count: int
    restarts: int
    node: str
    settings: msgspec.Raw
    """As :func:`kit.settings.dump` has them. They come by a pipe, for secrets are among them."""

    @property
    def crew(self) -> Crew:
        """What the worker is to its node."""
        return Crew(self.index, self.count, self.restarts, NodeName(self.node))


def orders_for(settings: Settings, port: int) -> Callable[[int, int], bytes]:
    """Return what makes the orders of each worker, all of which listen on ``port``."""
    listen = replace(settings.edge.listen, port=port, reuse_port=True)
    dumped = dump(replace(settings, edge=replace(settings.edge, listen=listen)))
    node = new_node_name()

    def orders(index: int, restarts: int) -> bytes:
        found = Orders(index, settings.edge.workers, restarts, node, msgspec.Raw(dumped))
        return msgspec.json.encode(found)

    return orders


def supervise(settings: Settings) -> int:
    """Run the workers of an edge until told to stop; return the exit code of the process.

    Raises:
        SettingsError: The address cannot be listened on.
    """
    listen = settings.edge.listen
    with closing(reserve(listen.host, listen.port, "edge.listen")) as reserved:
        return asyncio.run(_supervise(settings, reserved.getsockname()[1]))


async def _supervise(settings: Settings, port: int) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)

    def told_to_stop() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)  # a second one ends all at once

    plan = Plan(
        count=settings.edge.workers,
        words=WORDS,
        orders=orders_for(settings, port),
        drain_within_s=settings.edge.listen.drain_for,
    )
    supervisor = Supervisor(plan, SystemClock(), when_stopping=told_to_stop)
    try:
        return await supervisor.run(stop, lambda: log.info("workers.ready", count=plan.count))
    except WorkerFailed as error:
        log.error("workers.failed", detail=str(error))  # noqa: TRY400 - the worker has told
        return error.exit_code
