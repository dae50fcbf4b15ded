"""``--origin``: where a publisher's command goes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import click
import msgspec

from playhead.settings import Settings

R = TypeVar("R")


def at_origin(command: Callable[..., R]) -> Callable[..., R]:
    """Give ``command`` the option, which becomes the setting ``packager.origin``."""

    @click.option("--origin", metavar="URL", help="Publish there; default: where you logged in.")
    @functools.wraps(command)
    def wrapped(settings: Settings, origin: str | None = None, **options: object) -> R:
        if origin is not None:
            packager = msgspec.structs.replace(settings.packager, origin=origin)
            settings = msgspec.structs.replace(settings, packager=packager)
        return command(settings, **options)

    return wrapped
