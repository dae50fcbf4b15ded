"""``playhead edge render``: a configuration for who runs nginx or Varnish."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from kit.errors import SettingsError
from playhead.cli.terminal import notice, reports_errors
from playhead.engines import ENGINES, NGINX, render_engine
from playhead.settings import Settings

_File = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--engine", type=click.Choice(ENGINES), required=True, help="For which program.")
@click.option("--output", type=_File, help="Write it there instead of printing it.")
@click.option(
    "--nginx",
    type=_File,
    help="Whose version and modules to write for; without one the nginx on the path is asked.",
)
@click.pass_obj
@reports_errors
def render(settings: Settings, *, engine: str, output: Path | None, nginx: Path | None) -> None:
    """Write a configuration that makes nginx or Varnish an edge of this platform.

    Its head says how to start it. Settings are those of the groups engine and gate; see
    docs/operating/engines.md.
    """
    if nginx is None and engine == NGINX and (found := shutil.which("nginx")):
        nginx = Path(found)
    text = render_engine(settings, engine, nginx)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise SettingsError(f"--output {output}: {error.strerror}") from error
    notice(f"{output}: written; its head says how to start {engine} with it")
