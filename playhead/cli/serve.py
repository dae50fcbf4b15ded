"""``playhead serve``: run one role, or several in one process, or an edge in several."""

from __future__ import annotations

import sys

import click

from kit import telemetry
from playhead import serving
from playhead.cli.terminal import reports_errors
from playhead.settings import Settings


@click.command()
@click.argument("roles", nargs=-1, required=True, type=click.Choice(sorted(serving.ROLES)))
@click.pass_obj
@reports_errors
def serve(settings: Settings, roles: tuple[str, ...]) -> None:
    """Serve ROLES until SIGTERM or Ctrl-C; both end it after what is under way.

    They share this process. An edge alone runs as many as `edge.workers` says.
    """
    telemetry.configure(json=settings.log_json)
    sys.exit(serving.serve(roles, settings))
