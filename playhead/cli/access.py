"""A publisher's standing with an origin: login, logout."""

from __future__ import annotations

import asyncio

import click

from kit.clock import SystemClock
from kit.http_client import HttpClient
from playhead.cli.terminal import (
    duration_text,
    errors,
    json_option,
    output,
    print_json,
    reports_errors,
)
from playhead.credentials import Login, base_url
from playhead.login import Waiting, log_in, logins_of, remember, remembered_origin
from playhead.settings import Settings


@click.command()
@click.argument("url")
@json_option
@click.pass_obj
@reports_errors
def login(settings: Settings, url: str, as_json: bool) -> None:
    """Log in at the origin at URL; from then on, publish there.

    Prints a code for the platform's operator, and waits until it was approved.
    """

    def say(waiting: Waiting) -> None:
        errors.print(f"code     {waiting.user_code}")
        errors.print(f"key      {waiting.key_id}")
        errors.print(
            f"Give both to an operator of {waiting.url}, who runs `playhead publishers approve"
            f" {waiting.user_code} ...`. Waiting for {duration_text(waiting.expires_in_s)}."
        )

    async def run() -> Login:
        async with HttpClient(settings.packager.http) as client:
            return await log_in(url, logins_of(settings), client, say=say, clock=SystemClock())

    found = asyncio.run(run())
    remember(settings, found.origin)
    if as_json:
        print_json(
            {
                "origin": found.origin,
                "publisher": found.publisher,
                "titles": found.titles,
                "channels": found.channels,
            }
        )
        return
    output.print(
        f"logged in at {found.origin} as {found.publisher}: titles {', '.join(found.titles)},"
        f" channels {', '.join(found.channels)}"
    )


@click.command()
@click.argument("url", required=False)
@click.pass_obj
@reports_errors
def logout(settings: Settings, url: str | None) -> None:
    """Forget the tokens of the origin at URL; default: where publishers' commands go now."""
    remembered = remembered_origin(settings)
    origin = base_url(url) if url else remembered
    if not origin:
        output.print("logged in nowhere")
        return
    was_in = logins_of(settings).forget(origin)
    if origin == remembered:
        remember(settings, "")
    output.print(
        f"logged out at {origin}; the key stays, for the next login"
        if was_in
        else f"not logged in at {origin}"
    )
