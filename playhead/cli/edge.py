"""``playhead edge``: what operators tell an edge, and what it tells them."""

from __future__ import annotations

import click

from playhead.cli import LazyCommands

COMMANDS = {
    "render": "playhead.cli.edge_render:render",
}


@click.group(cls=LazyCommands, commands=COMMANDS)
def edge() -> None:
    """Look after an edge."""
