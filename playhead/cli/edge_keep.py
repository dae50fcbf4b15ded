"""``playhead edge purge``, ``pin``, ``unpin``."""

from __future__ import annotations

import sys
import time

import click

from edge.operating.messages import Pinned, PinRequest, Purged, PurgeRequest
from kit.errors import Interrupted, InvalidInput
from playhead.cli.edge_options import amount_text, asked, edge_option, time_text
from playhead.cli.terminal import json_option, notice, output, print_json, reports_errors
from playhead.edge_desk import moment_of
from playhead.settings import Settings

_target = click.argument("target", metavar="TITLE[@CHANNEL|@COUNTER]|ID|URL")


@click.command()
@_target
@click.option("--hard", is_flag=True, help="Drop it now, not only when its turn comes.")
@click.option("--dry-run", is_flag=True, help="Say how much it is; leave it.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@edge_option
@json_option
@click.pass_obj
@reports_errors
def purge(
    settings: Settings,
    *,
    target: str,
    hard: bool,
    dry_run: bool,
    yes: bool,
    url: str,
    as_json: bool,
) -> None:
    """Let go of a title, a release, a bundle or any object by its id or URL.

    Softly: content is verified again before it is sent, and goes first for room; documents are
    asked for again. With --hard all of it goes now.
    """
    plan = PurgeRequest(target=target, hard=hard, dry_run=True)
    found = asked(settings, url, lambda desk: desk.purge(plan))
    if not dry_run:
        if not (yes or as_json):
            _confirm(found)
        doing = PurgeRequest(target=target, hard=hard)
        found = asked(settings, url, lambda desk: desk.purge(doing))
    if as_json:
        print_json(found)
        return
    output.print(_purge_text(found))


@click.command()
@_target
@click.option(
    "--until", default="1d", show_default=True, help="For how long (2d), or until when (RFC 3339)."
)
@edge_option
@json_option
@click.pass_obj
@reports_errors
def pin(settings: Settings, *, target: str, until: str, url: str, as_json: bool) -> None:
    """Keep what an edge has of a title, a release or an object, whatever else comes."""
    request = PinRequest(target=target, until_s=moment_of(until, time.time()))
    _print_pinned(asked(settings, url, lambda desk: desk.pin(request)), as_json=as_json)


@click.command()
@_target
@edge_option
@json_option
@click.pass_obj
@reports_errors
def unpin(settings: Settings, *, target: str, url: str, as_json: bool) -> None:
    """Let what was pinned go when its turn comes."""
    request = PinRequest(target=target, until_s=0)
    _print_pinned(asked(settings, url, lambda desk: desk.pin(request)), as_json=as_json)


def _confirm(found: Purged) -> None:
    """Show what would go, and ask.

    Raises:
        InvalidInput: There is nobody to ask.
        Interrupted: The answer is no.
    """
    notice(_purge_text(found))
    if not sys.stdin.isatty():
        raise InvalidInput("nobody is there to confirm that: give --yes, or --dry-run to look only")
    if not click.confirm("Go on?", err=True):
        raise Interrupted("nothing was purged")


def _purge_text(found: Purged) -> str:
    verb = {
        (True, True): "would drop",
        (True, False): "would doubt",
        (False, True): "dropped",
        (False, False): "doubted",
    }[found.dry_run, found.hard]
    return (
        f"{found.target}: {verb} {amount_text(found.blobs)};"
        f" documents: {amount_text(found.documents)}"
    )


def _print_pinned(found: Pinned, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    until = f"pinned until {time_text(found.until_s)}" if found.until_s else "no longer pinned"
    output.print(f"{found.target}: {amount_text(found.pinned)} {until}")
    if found.refused.count:
        notice(f"not pinned: {amount_text(found.refused)}, for no more may be")
