"""A real browser without a screen, told what to do over its debugging protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.polling import eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PORT_FILE = "DevToolsActivePort"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-port=0",
)


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.console: list[str] = []
        """What the page logged, what it threw, and what its policy forbade."""
        self.asked: list[str] = []
        """Every URL that it asked for."""

    async def listen(self) -> None:
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                self._waiting.pop(told["id"]).set_result(told)
                continue
            match told["method"]:
                case "Runtime.consoleAPICalled":
                    self.console.append(str(told["params"]["args"]))
                case "Runtime.exceptionThrown":
                    self.console.append(str(told["params"]["exceptionDetails"]))
                case "Log.entryAdded":
                    self.console.append(told["params"]["entry"]["text"])
                case "Network.requestWillBeSent":
                    self.asked.append(told["params"]["request"]["url"])

    async def tell(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(30):
            told = await answer
        assert "error" not in told, told
        return dict(told["result"])

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.tell(f"{domain}.enable")
        await self.tell("Page.navigate", url=url)

        async def is_loaded() -> bool:
            return bool(await self.value("document.readyState === 'complete'"))

        await eventually(is_loaded, within_s=30)

    async def value(self, script: str) -> Any:
        """Return what ``script`` comes to; a promise is waited for."""
        told = await self.tell(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def text(self, selector: str) -> str:
        return str(await self.value(f"document.querySelector({selector!r}).textContent"))

    async def shows(self, selector: str, text: str) -> None:
        """Wait until what ``selector`` finds holds ``text``."""

        async def is_shown() -> bool:
            return text in await self.text(selector)

        await eventually(is_shown, within_s=20)

    async def holds(self, condition: str) -> None:
        """Wait until a script comes to something true."""

        async def is_so() -> bool:
            return bool(await self.value(condition))

        await eventually(is_so, within_s=20)

    async def screenshot(self, into: Path, *, dark: bool, width: int = 1200) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.tell("Emulation.setEmulatedMedia", features=[scheme])
        await self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        told = await self.tell("Page.captureScreenshot", captureBeyondViewport=True)
        await asyncio.to_thread(into.write_bytes, base64.b64decode(told["data"]))


@asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Page]:
    """Run a browser whose profile is in ``folder``, with one tab; skip where there is none."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    words = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    silent = asyncio.subprocess.DEVNULL
    child = await asyncio.create_subprocess_exec(*words, stdout=silent, stderr=silent)
    try:
        said = folder / PORT_FILE

        async def is_up() -> bool:
            return said.exists() and said.read_text().count("\n") > 0

        await eventually(is_up, within_s=60)
        port = said.read_text().splitlines()[0]
        async with aiohttp.ClientSession() as session:
            urls: list[str] = []

            async def has_tab() -> bool:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as reply:
                    tabs = await reply.json(content_type=None)
                urls.extend(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
                return bool(urls)

            await eventually(has_tab, within_s=60)
            url = urls[0]
            async with session.ws_connect(url, max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                try:
                    yield page
                finally:
                    listening.cancel()
                    await asyncio.gather(listening, return_exceptions=True)
    finally:
        child.kill()
        await child.wait()
