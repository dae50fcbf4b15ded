"""An operator's commands about publishers: publishers list, approve, deny, revoke; audit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from heapq import merge
from typing import TypeVar

import click
import msgspec
from rich.table import Table

from kit.audit_log import audit_events
from kit.http_client import HttpClient
from kit.units import Seconds
from manifests import names
from manifests.publishing_scope import VERBS, Scope, Verb
from manifests.trust_roles import publisher_id
from playhead.cli.terminal import json_option, notice, output, print_json, reports_errors
from playhead.edge_operators import edge_audit_folders
from playhead.publisher_desk import Granted, PublisherDesk, WaitingLogin
from playhead.publishing_service import audit_folder
from playhead.settings import Settings

T = TypeVar("T")

_url = click.option("--url", default="", help="The origin's address; default: by origin.listen.")


@click.group()
def publishers() -> None:
    """Say who may publish through this origin, and look what they did."""


@publishers.command("list")
@_url
@json_option
@click.pass_obj
@reports_errors
def list_publishers(settings: Settings, url: str, as_json: bool) -> None:
    """List who may publish here, and the logins that wait to be approved."""

    async def ask(desk: PublisherDesk) -> tuple[list[Granted], list[WaitingLogin]]:
        return await desk.grants(), await desk.waiting()

    granted, waiting = _asked(settings, url, ask)
    if as_json:
        print_json({"grants": granted, "logins": waiting})
        return
    table = Table("publisher", "grant", "titles", "channels", "may", "machine", "until", box=None)
    for each in granted:
        scope = each.scope
        table.add_row(
            scope.publisher,
            each.grant_id,
            " ".join(scope.titles),
            " ".join(scope.channels),
            " ".join(scope.verbs),
            each.machine,
            _time(each.expires_s),
        )
    output.print(table)
    for login in waiting:
        output.print(
            f"waiting  {login.user_code} from {login.address} ({login.machine}), key"
            f" {login.key.keyid}, until {_time(login.expires_s)}"
        )


@publishers.command()
@click.argument("code")
@click.option("--publisher", required=True, help="The name it publishes under.")
@click.option("--title", "titles", multiple=True, required=True, help="Once for each title.")
@click.option("--channel", "channels", multiple=True, required=True, help="Once for each channel.")
@click.option(
    "--verb", "verbs", multiple=True, type=click.Choice(VERBS), help="Default: all of them."
)
@click.option("--expires", help="When it must log in again, such as 30d; default from settings.")
@click.option("--key", help="Approve only if the machine's key is, or begins with, this.")
@_url
@json_option
@click.pass_obj
@reports_errors
def approve(
    settings: Settings,
    *,
    code: str,
    publisher: str,
    titles: tuple[str, ...],
    channels: tuple[str, ...],
    verbs: tuple[Verb, ...],
    expires: str | None,
    key: str | None,
    url: str,
    as_json: bool,
) -> None:
    """Let the machine that shows CODE publish: enrol its key, and grant it titles and channels."""
    scope = Scope(
        publisher=publisher_id(publisher),
        titles=tuple(names.title_id(title) for title in dict.fromkeys(titles)),
        channels=tuple(names.channel(channel) for channel in dict.fromkeys(channels)),
        verbs=tuple(dict.fromkeys(verbs)) or VERBS,
    )
    good_for_s = None if expires is None else _duration(expires)

    async def ask(desk: PublisherDesk) -> tuple[Granted, str]:
        login = await desk.find(code)
        if key is not None and not login.key.keyid.startswith(key):
            raise click.BadParameter(f"that machine's key is {login.key.keyid}", param_hint="--key")
        return await desk.approve(login, scope, good_for_s, notice), login.key.keyid

    granted, key_id = _asked(settings, url, ask)
    if as_json:
        print_json({"grant": granted, "key": key_id})
        return
    output.print(
        f"{scope.publisher} may {', '.join(scope.verbs)} {', '.join(scope.titles)} on"
        f" {', '.join(scope.channels)} until {_time(granted.expires_s)}; grant {granted.grant_id}"
    )
    output.print(f"its releases are vouched for by key {key_id}: compare that with the machine's")


@publishers.command()
@click.argument("code")
@_url
@click.pass_obj
@reports_errors
def deny(settings: Settings, code: str, url: str) -> None:
    """Refuse the machine that shows CODE."""

    async def ask(desk: PublisherDesk) -> WaitingLogin:
        login = await desk.find(code)
        await desk.deny(login)
        return login

    login = _asked(settings, url, ask)
    output.print(f"refused {login.user_code} from {login.address} ({login.machine})")


@publishers.command()
@click.argument("which", metavar="PUBLISHER|GRANT")
@_url
@json_option
@click.pass_obj
@reports_errors
def revoke(settings: Settings, which: str, url: str, as_json: bool) -> None:
    """Take back one grant, or all grants of a publisher. Its key stays enrolled.

    Consoles believe what the key signed; `playhead keys revoke` is for keys that were stolen.
    """
    gone = _asked(settings, url, lambda desk: desk.revoke(which))
    if as_json:
        print_json(gone)
        return
    for each in gone:
        output.print(f"revoked  {each.grant_id} of {each.scope.publisher} ({each.machine})")


@click.command()
@click.option("--publisher", help="Only what this one did.")
@click.option("--on", help="Only what was done to a key, title or channel that holds this text.")
@click.option("--what", help="Only this verb: put, commit, delete, vouch, approve, revoke.")
@click.option("--failed", is_flag=True, help="Only what was refused.")
@click.option("--since", help="Only since then: RFC 3339, or its beginning.")
@json_option
@click.pass_obj
@reports_errors
def audit(
    settings: Settings,
    *,
    publisher: str | None,
    on: str | None,
    what: str | None,
    failed: bool,
    since: str | None,
    as_json: bool,
) -> None:
    """Print what publishers and operators did through this machine's origin and edge, in order."""
    folders = (audit_folder(settings), *edge_audit_folders(settings))
    for event in merge(*map(audit_events, folders), key=lambda event: event.at):
        if (
            (publisher is not None and event.who != publisher)
            or (on is not None and on not in event.on)
            or (what is not None and event.what != what)
            or (failed and event.outcome in ("ok", "there"))
            or (since is not None and event.at < since)
        ):
            continue
        if as_json:
            print_json(msgspec.structs.asdict(event))
        else:
            output.print(
                f"{event.at} {event.who} {event.what} {event.on} {event.outcome} {event.detail}"
            )


def _asked(settings: Settings, url: str, ask: Callable[[PublisherDesk], Awaitable[T]]) -> T:
    async def run() -> T:
        async with HttpClient(settings.packager.http) as client:
            return await ask(PublisherDesk(settings, client, url))

    return asyncio.run(run())


def _duration(text: str) -> float:
    try:
        return float(Seconds.parse(text))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from error


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
