"""How an upstream can fail: all but how it answers."""

from __future__ import annotations

from kit.errors import Unavailable


class UpstreamBroken(Unavailable):
    """It cannot be reached, ends before its answer does, or sends what is no HTTP."""

    code = "upstream-broken"
    status = 502


class UpstreamSlow(Unavailable):
    """It takes longer than it may."""

    code = "upstream-slow"
    status = 504


class ClientLeft(Exception):  # noqa: N818 - nothing is wrong
    """The client is gone; there is nobody to tell."""
