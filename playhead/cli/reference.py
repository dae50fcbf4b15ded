"""``playhead settings``: what can be set, in Markdown."""

from __future__ import annotations

import click

from playhead.reference import settings_page


@click.command()
def settings() -> None:
    """Print every setting with its default and meaning."""
    click.echo(settings_page(), nl=False)
