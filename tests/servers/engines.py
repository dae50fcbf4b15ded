"""Real nginx and Varnish on ports of their own, by the configurations that we write for them."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.engines.nginx import render_nginx
from edge.engines.nginx_build import NginxBuild
from edge.engines.plan import EnginePlan, plan_engine
from edge.engines.settings import EngineSettings
from edge.engines.varnish import render_varnish, varnish_words
from kit.http_settings import ListenSettings
from kit.units import MIB, ByteSize
from playhead.engines import nginx_build
from tests.polling import eventually
from tests.servers.ports import free_ports

PROGRAMS = {"nginx": "nginx", "varnish": "varnishd"}


def program(engine: str) -> str:
    """Return where an engine is; skip the test where it is not."""
    found = shutil.which(PROGRAMS[engine], path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip(f"{PROGRAMS[engine]} is not installed on this machine")
    return found


def some_plan(folder: Path, *upstreams: str, **settings: Any) -> EnginePlan:
    """Plan an engine below ``folder``; anything may be overridden."""
    [port] = free_ports(1)
    chosen: dict[str, Any] = {
        "listen": ListenSettings(port=port),
        "max_bytes": ByteSize(256 * MIB),
        "workers": 2,
        "connections_max": 512,
        "user": getpass.getuser() if os.geteuid() == 0 else "",
    }
    engine = EngineSettings(**(chosen | settings))
    return plan_engine(engine, upstreams, folder / "gate.sock", folder / "engine")


async def write_config(plan: EnginePlan, engine: str, build: NginxBuild | None = None) -> Path:
    """Write a configuration beside the cache, for the nginx there is or for ``build``."""

    def write() -> Path:
        plan.cache_dir.mkdir(exist_ok=True, mode=0o700)
        file = plan.cache_dir.with_suffix(".conf")
        if engine == "varnish":
            file.write_text(render_varnish(plan))
        else:
            file.write_text(render_nginx(plan, build or nginx_build(Path(program(engine)))))
        return file

    return await asyncio.to_thread(write)


def command(plan: EnginePlan, engine: str, file: Path) -> list[str]:
    """Return what starts an engine, as the head of its configuration says."""
    found = program(engine)
    if engine == "nginx":
        return [found, "-c", str(file), "-g", "daemon off;"]
    [_, *options] = [word for words in varnish_words(plan) for word in words.split(" ", 1)]
    # Its jail gives up root, to whom the folders of tests belong; a core is not worth 100 threads.
    return [found, *options, "-f", str(file), "-j", "none", "-p", "thread_pool_min=10"]


@asynccontextmanager
async def running_engine(
    plan: EnginePlan, engine: str, build: NginxBuild | None = None
) -> AsyncIterator[str]:
    """Run an engine until the block is left; its base URL."""
    file = await write_config(plan, engine, build)
    log = file.with_suffix(".log")
    child = await _started(command(plan, engine, file), log)
    listen = plan.settings.listen
    try:
        await eventually(lambda: _listens(child, log, listen.port), within_s=30)
        yield f"http://127.0.0.1:{listen.port}"
    finally:
        if child.returncode is None:
            child.terminate()
        async with asyncio.timeout(20):
            await child.wait()


async def _started(words: Sequence[str], log: Path) -> asyncio.subprocess.Process:
    output = await asyncio.to_thread(log.open, "ab")
    try:
        return await asyncio.create_subprocess_exec(*words, stdout=output, stderr=output)
    finally:
        output.close()


async def _listens(child: asyncio.subprocess.Process, log: Path, port: int) -> bool:
    assert child.returncode is None, await asyncio.to_thread(log.read_text)
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    return True
