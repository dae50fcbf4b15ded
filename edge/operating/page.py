"""The live status page: one file of HTML, served as it is, that asks the API for all it shows.

Nothing on it is secret: the token is typed in, kept for the tab, and sent to the API alone. The
policy in its header lets it load nothing from anywhere, and run no script but its own.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from aiohttp import web

FILE = "page.html"


async def serve(_request: web.Request) -> web.Response:
    """Answer with the page."""
    text, policy = await asyncio.to_thread(_page)
    return web.Response(
        text=text,
        content_type="text/html",
        headers={
            "Cache-Control": "no-cache",
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Opener-Policy": "same-origin",
        },
    )


def policy_of(text: str) -> str:
    """Return the policy that lets a page run its own style and script, by their digests."""
    sources = {
        kind: " ".join(map(_hash, re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)))
        for kind in ("style", "script")
    }
    return (
        f"default-src 'none'; style-src {sources['style']}; script-src {sources['script']};"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )


@cache
def _page() -> tuple[str, str]:
    text = files("edge.operating").joinpath(FILE).read_text("utf-8")
    return text, policy_of(text)


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
