"""``playhead leases``: whose downloads are permitted on this machine."""

from __future__ import annotations

import click

from manifests import names
from manifests.lease import Subject
from playhead.cli.terminal import json_option, output, print_figures, print_json, reports_errors
from playhead.leases import lease_office
from playhead.settings import Settings
from services.entitlement.local_ownership import LOCAL_PLAYER

_player = click.option("--player", default=LOCAL_PLAYER, show_default=True, help="Whose leases.")


@click.group()
def leases() -> None:
    """Say who may download what on this machine, and see by which keys."""


@leases.command()
@json_option
@click.pass_obj
@reports_errors
def show(settings: Settings, *, as_json: bool) -> None:
    """Show the keys that leases are checked by, and what was taken from whom."""
    found = lease_office(settings).overview()
    if as_json:
        print_json(found)
        return
    taken = ", ".join(f"{each.title} from {each.subject}" for each in found.taken)
    print_figures(
        {
            "keys believed": ", ".join(found.key_ids) or "none",
            "key that mints": found.signing_key_id or "none; the next lease makes one",
            "taken": taken or "nothing",
            "revocations that matter": str(found.revocations),
        }
    )


@leases.command()
@click.argument("title")
@_player
@click.pass_obj
@reports_errors
def revoke(settings: Settings, *, title: str, player: str) -> None:
    """End all leases for TITLE at once; there are no new ones until it is granted again."""
    lease_office(settings).revoke(_subject(player), names.title_id(title))
    output.print(f"{title}: taken from {player}; downloads end within a second")


@leases.command()
@click.argument("title")
@_player
@click.pass_obj
@reports_errors
def grant(settings: Settings, *, title: str, player: str) -> None:
    """Let TITLE be downloaded again."""
    lease_office(settings).grant(_subject(player), names.title_id(title))
    output.print(f"{title}: {player} may download it again")


def _subject(player: str) -> Subject:
    return Subject(player)
