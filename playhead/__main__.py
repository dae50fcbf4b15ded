"""``playhead``: one command line for publishers, operators and players."""

from __future__ import annotations

import os
from pathlib import Path

import click

from kit.settings import load
from playhead.cli import LazyCommands
from playhead.cli.terminal import reports_errors
from playhead.settings import Settings

COMMANDS = {
    "audit": "playhead.cli.operators:audit",
    "deltas": "playhead.cli.deltas:deltas",
    "demo": "playhead.cli.demo:demo",
    "edge": "playhead.cli.edge:edge",
    "explain": "playhead.cli.explain:explain",
    "install": "playhead.cli.player:install",
    "keys": "playhead.cli.keys:keys",
    "leases": "playhead.cli.leases:leases",
    "login": "playhead.cli.access:login",
    "logout": "playhead.cli.access:logout",
    "promote": "playhead.cli.publisher:promote",
    "publishers": "playhead.cli.operators:publishers",
    "push": "playhead.cli.publisher:push",
    "releases": "playhead.cli.publisher:releases",
    "repair": "playhead.cli.player:repair",
    "rollback": "playhead.cli.publisher:rollback",
    "serve": "playhead.cli.serve:serve",
    "settings": "playhead.cli.reference:settings",
    "status": "playhead.cli.player:status",
    "sweep": "playhead.cli.publisher:sweep",
    "uninstall": "playhead.cli.player:uninstall",
    "update": "playhead.cli.player:update",
    "verify": "playhead.cli.verify:verify",
}


@click.group(cls=LazyCommands, commands=COMMANDS)
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file of settings.")
@click.option("--set", "flags", multiple=True, metavar="KEY=VALUE", help="One setting; wins.")
@click.version_option(package_name="playhead")
@click.pass_context
@reports_errors
def main(context: click.Context, config: Path | None, flags: tuple[str, ...]) -> None:
    """Publish builds, serve them, install and update them.

    Settings come from --config, the environment (PLAYHEAD_...) and --set; `playhead settings`
    lists them.
    """
    context.obj = load(Settings, toml=config, env=os.environ, flags=flags)


if __name__ == "__main__":
    main()
