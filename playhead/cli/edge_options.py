"""What the commands of ``playhead edge`` share: which edge, and how it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import click

from edge.operating.messages import Amount
from kit.http_client import HttpClient
from kit.units import size_text
from playhead.edge_desk import EdgeDesk
from playhead.settings import Settings

T = TypeVar("T")

edge_option = click.option(
    "--edge", "url", default="", metavar="URL", help="The edge's address; default: by edge.listen."
)


def asked(settings: Settings, url: str, ask: Callable[[EdgeDesk], Awaitable[T]]) -> T:
    """Return what ``ask`` learns from the edge."""

    async def run() -> T:
        async with HttpClient(settings.edge.client) as client:
            return await ask(EdgeDesk(settings, client, url))

    return asyncio.run(run())


def amount_text(amount: Amount) -> str:
    """Return ``1,234 objects, 1.2 GiB``."""
    noun = "object" if amount.count == 1 else "objects"
    return f"{amount.count:,} {noun}, {size_text(amount.size)}"


def time_text(moment_s: float) -> str:
    """Return a moment as people read it."""
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
