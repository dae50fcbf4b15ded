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
@click.option("--generic", is_flag=True, help="The edge is a plain HTTP cache of any upstream.")
@click.option("--upstream", metavar="URL", help="What --generic caches.")
@click.option("--listen", metavar="HOST:PORT", help="Where --generic listens.")
@click.pass_obj
@reports_errors
def serve(
    settings: Settings,
    roles: tuple[str, ...],
    *,
    generic: bool,
    upstream: str | None,
    listen: str | None,
) -> None:
    """Serve ROLES until SIGTERM or Ctrl-C; both end it after what is under way.

    They share this process. An edge alone runs as many as `edge.workers` says.
    """
    if not generic and (upstream is not None or listen is not None):
        raise click.UsageError("--upstream and --listen are of --generic")
    if generic and roles != ("edge",):
        raise click.UsageError("--generic is a mode of the edge alone: serve edge --generic")
    telemetry.configure(json=settings.log_json)
    if generic:
        serving.serve_generic(settings, upstream=upstream, listen=listen)
    else:
        sys.exit(serving.serve(roles, settings))
