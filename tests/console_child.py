"""A console in a process of its own, to be killed: ``python -m tests.console_child URL FOLDER``.

It checkpoints often and asks for little at once, so that a kill finds it in any state.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from console.platform_api import Console
from console.settings import CheckpointSettings, ConsoleSettings
from kit.http_client import HttpClient
from kit.units import ByteSize, Seconds
from tests.believing import BelievingHeads
from tests.folder_publisher import LIVE, TITLE
from tests.leases import AnyLease

REQUESTS_AT_ONCE = 2
RANGE_SIZE_MAX = 1 << 20
RATE = 6_000_000


async def main(url: str, folder: Path) -> None:
    settings = ConsoleSettings(
        edges=(url,),
        requests_at_once=REQUESTS_AT_ONCE,
        range_bytes_max=ByteSize(RANGE_SIZE_MAX),
        limit_rate=ByteSize(RATE),
        checkpoint=CheckpointSettings(every_bytes=ByteSize(1 << 20), every=Seconds(0.05)),
    )
    async with HttpClient(settings.http) as http:
        console = Console(settings, http, AnyLease(), new_heads=BelievingHeads)
        await console.install(TITLE, folder, channel=LIVE)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
