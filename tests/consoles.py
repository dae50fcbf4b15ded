"""Consoles as tests use them: impatient, and compared with what was published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from console.platform_api import Console
from console.settings import ConsoleSettings
from kit.http_client import HttpClient
from kit.http_settings import ClientSettings
from kit.units import Seconds
from playhead import trees
from tests.believing import BelievingHeads
from tests.faulty_edge import FaultyEdge
from tests.leases import AnyLease

IMPATIENT = ClientSettings(stall_after=Seconds(0.3), connect_within=Seconds(1))


def impatient_settings(*urls: str, **settings: Any) -> ConsoleSettings:
    """Settings that give up soon; anything may be overridden."""
    chosen: dict[str, Any] = {
        "edges": urls,
        "penalty": Seconds(0.01),
        "penalty_max": Seconds(0.05),
        "give_up_after": Seconds(0.5),
        "http": IMPATIENT,
    }
    return ConsoleSettings(**(chosen | settings))


@asynccontextmanager
async def console_on(*edges: FaultyEdge, **settings: Any) -> AsyncIterator[Console]:
    chosen = impatient_settings(*(edge.url for edge in edges), **settings)
    async with HttpClient(chosen.http) as http:
        yield Console(chosen, http, AnyLease(), new_heads=BelievingHeads)


async def differences(expected: Path, actual: Path) -> list[str]:
    """Compare two folders off the event loop."""
    return await asyncio.to_thread(lambda: list(trees.differences(expected, actual)))
