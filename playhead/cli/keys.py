"""``playhead keys``: who may sign what, planned before it is done."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import click
from rich.table import Table

from kit.clock import SystemClock
from manifests.trust_change import Change, missing
from manifests.trust_roles import ROOT, TARGETS
from manifests.trust_summary import summary
from playhead.cli.terminal import errors, json_option, notice, output, print_json, reports_errors
from playhead.key_commands import (
    ONLINE,
    Plan,
    office,
    plan_holder,
    plan_publisher,
    plan_publisher_revocation,
    plan_renewal,
    plan_revocation,
    plan_rotation,
    read_change,
    write_change,
)
from playhead.key_commands import (
    init as init_keys,
)
from playhead.keys.changing import Progress, carry_out
from playhead.keys.doctor import Diagnosis, examine
from playhead.keys.public_file import write_public
from playhead.settings import Settings
from playhead.trust import key_folder

_File = click.Path(dir_okay=False, path_type=Path)

_yes = click.option("--yes", is_flag=True, help="Do it without asking.")
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
_out = click.option(
    "--out",
    type=_File,
    default=Path("trust-change.json"),
    show_default=True,
    help="Where a change is kept that others must sign too.",
)


@click.group()
def keys() -> None:
    """Make, hand over, replace and look after the keys that vouch for releases."""


@keys.command()
@click.option("--holders", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option(
    "--threshold",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="How many holders must sign who owns which title.",
)
@click.option(
    "--root-threshold",
    type=click.IntRange(1, 16),
    help="How many must sign who the holders are; default: as --threshold.",
)
@click.option("--holder", help="Make only this holder's keys, for a platform that is elsewhere.")
@click.option("--publisher", help="Make only this publisher's key, for a platform elsewhere.")
@click.option("--public", type=_File, help="Where to put that one's public keys.")
@click.pass_obj
@reports_errors
def init(
    settings: Settings,
    *,
    holders: int,
    threshold: int,
    root_threshold: int | None,
    holder: str | None,
    publisher: str | None,
    public: Path | None,
) -> None:
    """Make keys: for a platform, or for one holder or publisher of it."""
    if holder is not None and publisher is not None:
        raise click.UsageError("name one holder or one publisher")
    name = holder or publisher
    if name is None:
        folder = asyncio.run(
            init_keys(
                settings,
                notice,
                holder_count=holders,
                threshold=threshold,
                root_threshold=root_threshold or threshold,
            )
        )
        output.print(f"keys for all roles are in {folder.path}; move holders' keys elsewhere")
        return
    folder = key_folder(settings)
    made = folder.make_one("holder" if holder is not None else "publisher", name)
    path = public or Path(f"{name}.public.json")
    write_public(path, name, made)
    output.print(f"keys of {name} are in {folder.path}; hand {path} to the platform")


@keys.command("add-holder")
@click.option("--public", type=_File, help="The public keys, as `keys init --public` wrote them.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice([ROOT, TARGETS]),
    help="What the holder signs; default: both.",
)
@click.option("--threshold", type=click.IntRange(1, 16), help="How many must sign from then on.")
@click.option("--publisher", help="Enrol this publisher instead, or give it more titles.")
@click.option("--title", "titles", multiple=True, help="With --publisher: a title of its.")
@_out
@_dry_run
@_yes
@click.pass_obj
@reports_errors
def add_holder(
    settings: Settings,
    *,
    public: Path | None,
    roles: tuple[str, ...],
    threshold: int | None,
    publisher: str | None,
    titles: tuple[str, ...],
    out: Path,
    dry_run: bool,
    yes: bool,
) -> None:
    """Let one more holder, or a publisher, sign."""
    if publisher is not None:
        plan = plan_publisher(publisher, public, titles)
    elif public is None or titles:
        raise click.UsageError("give --public FILE of a holder, or --publisher NAME --title TITLE")
    else:
        plan = plan_holder(public, roles or (ROOT, TARGETS), threshold)
    _change(settings, lambda: plan, out, dry_run=dry_run, yes=yes)


@keys.command()
@click.argument("name")
@click.option("--publisher", "is_publisher", is_flag=True, help="NAME is a publisher's.")
@click.option("--to", "uri", help="hsm:NUMBER or awskms:KEY; default: a new file.")
@_out
@_dry_run
@_yes
@click.pass_obj
@reports_errors
def rotate(
    settings: Settings,
    *,
    name: str,
    is_publisher: bool,
    uri: str | None,
    out: Path,
    dry_run: bool,
    yes: bool,
) -> None:
    """Replace the key NAME of this machine: timestamp, snapshot, release, or a holder's."""
    kind: Literal["online", "holders", "publishers"] = "holders"
    if is_publisher:
        kind = "publishers"
    elif name in ONLINE:
        kind = "online"
    folder = key_folder(settings)
    _change(settings, lambda: plan_rotation(folder, kind, name, uri), out, dry_run=dry_run, yes=yes)


@keys.command()
@click.argument("holder", required=False)
@click.option("--threshold", type=click.IntRange(1, 16), help="How many must sign from then on.")
@click.option("--publisher", help="Take away a publisher's rights instead.")
@click.option("--title", "titles", multiple=True, help="With --publisher: only this title.")
@_out
@_dry_run
@_yes
@click.pass_obj
@reports_errors
def revoke(
    settings: Settings,
    *,
    holder: str | None,
    threshold: int | None,
    publisher: str | None,
    titles: tuple[str, ...],
    out: Path,
    dry_run: bool,
    yes: bool,
) -> None:
    """Let HOLDER, a name or the beginning of a key's id, sign no more; or a publisher."""
    if (holder is None) == (publisher is None):
        raise click.UsageError("name a HOLDER, or --publisher NAME")
    if publisher is not None:
        plan = plan_publisher_revocation(publisher, titles)
    else:
        plan = plan_revocation(key_folder(settings), holder or "", threshold)
    _change(settings, lambda: plan, out, dry_run=dry_run, yes=yes)


@keys.command()
@click.argument("change", required=False, type=_File)
@_out
@_dry_run
@_yes
@click.pass_obj
@reports_errors
def sign(settings: Settings, *, change: Path | None, out: Path, dry_run: bool, yes: bool) -> None:
    """Sign a CHANGE that was begun elsewhere; without one, sign anew what expires soon.

    Once enough holders have signed, it is installed where the platform's keys are.
    """
    if change is None:
        _change(settings, lambda: plan_renewal, out, dry_run=dry_run, yes=yes)
        return
    read = read_change(change)
    folder = key_folder(settings)
    _show(read)
    if dry_run or not _is_wanted("Sign this?", yes=yes):
        _show_missing(read)
        return

    async def run() -> Progress:
        if not folder.is_platforms:
            return await carry_out(read, folder, None)
        async with office(settings) as here:
            return await here.carry_out(read)

    _report(asyncio.run(run()), change)


@keys.command()
@json_option
@click.pass_obj
@reports_errors
def doctor(settings: Settings, as_json: bool) -> None:
    """Examine keys and repository; exit with 1 if something must be done."""

    async def run() -> Diagnosis:
        async with office(settings) as here:
            return await examine(here.folder, here.registry, SystemClock())

    found = asyncio.run(run())
    if as_json:
        print_json(found)
    else:
        table = Table("role", "version", "expires", "days left", "must sign", "of", box=None)
        for role in found.roles:
            row = (role.role, role.version, role.expires, role.left_days, role.threshold)
            table.add_row(*map(str, row), str(len(role.key_ids)))
        output.print(table)
        output.print(f"{found.publisher_count} publishers with {found.title_count} titles")
        for note in found.notes:
            output.print(f"note: {note}")
        for ailment in found.ailments:
            errors.print(f"{ailment.what}: {ailment.detail}")
    if found.ailments:
        sys.exit(1)


def _change(
    settings: Settings, prepare: Callable[[], Plan], out: Path, *, dry_run: bool, yes: bool
) -> None:
    async def run() -> Progress | None:
        async with office(settings) as here:
            change = await here.plan(await asyncio.to_thread(prepare))
            _show(change)
            if dry_run or not _is_wanted("Do this?", yes=yes):
                return None
            return await here.carry_out(change)

    progress = asyncio.run(run())
    if progress is not None:
        _report(progress, out)


def _show(change: Change) -> None:
    for line in summary(change):
        output.print(line)


def _show_missing(change: Change) -> None:
    for each in missing(change):
        output.print(f"missing  {each}")


def _is_wanted(question: str, *, yes: bool) -> bool:
    return yes or click.confirm(question, err=True)


def _report(progress: Progress, path: Path) -> None:
    for place in progress.settled:
        output.print(f"in force  the new key of {place}; the one before was deleted here")
    if progress.is_installed:
        output.print("done: consoles see it with their next look")
        return
    write_change(path, progress.change)
    _show_missing(progress.change)
    if progress.missing:
        output.print(f"not in force yet: let the next holder `playhead keys sign {path}`")
    else:
        output.print(f"enough have signed: take {path} to where the platform's keys are")
