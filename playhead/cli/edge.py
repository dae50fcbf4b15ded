"""``playhead edge``: what operators tell an edge, and what it tells them."""

from __future__ import annotations

import click

from playhead.cli import LazyCommands

COMMANDS = {
    "cancel": "playhead.cli.edge_warm:cancel",
    "drain": "playhead.cli.edge_look:drain",
    "explain": "playhead.cli.edge_look:explain",
    "pin": "playhead.cli.edge_keep:pin",
    "purge": "playhead.cli.edge_keep:purge",
    "render": "playhead.cli.edge_render:render",
    "status": "playhead.cli.edge_look:status",
    "unpin": "playhead.cli.edge_keep:unpin",
    "warm": "playhead.cli.edge_warm:warm",
    "warms": "playhead.cli.edge_warm:warms",
}


@click.group(cls=LazyCommands, commands=COMMANDS)
def edge() -> None:
    """Warm, purge, watch and drain an edge.

    Whoever gives these commands has the operator's secret of the edge's machine, in its key folder.
    """
