"""One worker of an edge: ``python -m playhead.edge_worker``, as its supervisor starts it."""

from __future__ import annotations

import gc

import msgspec
from structlog.contextvars import bind_contextvars

from kit import service, telemetry, worker_life
from kit.settings import restore
from playhead import serving
from playhead.cli.terminal import reports_errors
from playhead.edge_workers import Orders
from playhead.settings import Settings


@reports_errors
def main() -> None:
    """Serve as told on standard input."""
    orders = msgspec.json.decode(worker_life.take_orders(), type=Orders)
    settings = restore(Settings, bytes(orders.settings))
    telemetry.configure(json=settings.log_json)
    bind_contextvars(worker=orders.index)
    binder = serving.edge_binder(settings, orders.crew)
    gc.freeze()  # what was imported stays
    service.run([binder], when_ready=worker_life.tell_ready)


if __name__ == "__main__":
    main()
