"""``playhead tls``: certificates."""

from __future__ import annotations

import click

from playhead.cli.terminal import json_option, output, print_json, reports_errors
from playhead.dev_certificates import LOCAL_HOSTS, make_dev_certificate
from playhead.settings import Settings


@click.group()
def tls() -> None:
    """Make certificates to try TLS with."""


@tls.command()
@click.option("--host", "hosts", multiple=True, help="A name or address more than localhost.")
@json_option
@click.pass_obj
@reports_errors
def dev(settings: Settings, *, hosts: tuple[str, ...], as_json: bool) -> None:
    """Make a certificate for servers of this machine, and an authority for their clients."""
    made = make_dev_certificate((settings.data / "tls").absolute(), (*LOCAL_HOSTS, *hosts))
    if as_json:
        print_json(made)
        return
    output.print(f"for {', '.join((*LOCAL_HOSTS, *hosts))}, until {made.not_after:%Y-%m-%d}; set")
    for role in ("origin", "edge"):
        output.print(f"  {role}.listen.tls.certificate={made.certificate}")
        output.print(f"  {role}.listen.tls.key={made.key}")
    output.print("and for whoever asks them by https:")
    for group in ("edge.client", "console.http", "packager.http"):
        output.print(f"  {group}.ca_file={made.authority}")
