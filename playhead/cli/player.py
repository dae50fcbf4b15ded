"""A player's commands: install, update, repair, uninstall, status; and verify's half of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.progress import Progress, TaskID

from console.edge_memory_file import remembered_in
from console.placement import Mode
from console.planner import Plan
from console.platform_api import Console
from console.progress import Event, Moved, Observer, Planned, Playable
from console.reports import Report
from kit import telemetry
from kit.clock import SystemClock
from kit.errors import IntegrityError, SettingsError
from kit.http_client import HttpClient
from kit.memory import give_back_large_blocks
from kit.units import ByteSize, size_text
from manifests import names
from playhead.cli.terminal import (
    duration_text,
    errors,
    json_option,
    output,
    print_figures,
    print_json,
    progress_bar,
    rate_text,
    reports_errors,
)
from playhead.leases import lease_source
from playhead.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

TRUSTED_ROOT = "root.json"
"""In the key folder: the root that a console of the same data folder trusts."""

EDGES_FILE = Path("console/edges.json")
"""Below the data folder: what consoles of this machine found out about edges."""

_Folder = click.Path(file_okay=False, path_type=Path)


def fetch_options(command: F) -> F:
    """Add what every command that fetches takes."""
    for option in (
        json_option,
        click.option("--limit-rate", metavar="SIZE", help="Bytes a second at most, as in 5MiB."),
        click.option(
            "--edge", "edges", multiple=True, metavar="URL", help="Not those in settings."
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("title")
@click.argument("folder", type=_Folder)
@click.option("--channel", default="live", show_default=True)
@click.option("--dry-run", is_flag=True, help="Say what it would cost; leave the files alone.")
@fetch_options
@click.pass_obj
@reports_errors
def install(
    settings: Settings,
    *,
    title: str,
    folder: Path,
    channel: str,
    dry_run: bool,
    edges: tuple[str, ...],
    limit_rate: str | None,
    as_json: bool,
) -> None:
    """Install TITLE into FOLDER, or go on with that."""

    async def run() -> Report | Plan:
        async with _console(settings, edges, limit_rate) as console:
            name, into = names.title_id(title), names.channel(channel)
            if dry_run:
                return await console.plan(name, folder, channel=into)
            with _Display(as_json=as_json) as display:
                return await console.install(name, folder, channel=into, observer=display.show)

    _print_outcome(asyncio.run(run()), as_json=as_json)


@click.command()
@click.argument("folder", type=_Folder)
@click.option("--channel", help="Follow this channel from now on.")
@click.option("--dry-run", is_flag=True, help="Say what it would cost; leave the files alone.")
@fetch_options
@click.pass_obj
@reports_errors
def update(
    settings: Settings,
    *,
    folder: Path,
    channel: str | None,
    dry_run: bool,
    edges: tuple[str, ...],
    limit_rate: str | None,
    as_json: bool,
) -> None:
    """Bring what is installed in FOLDER to what its channel plays now."""

    async def run() -> Report | Plan:
        async with _console(settings, edges, limit_rate) as console:
            followed = None if channel is None else names.channel(channel)
            if dry_run:
                present = await console.status(folder)
                return await console.plan(
                    names.title_id(present.title),
                    folder,
                    channel=followed or names.channel(present.channel),
                )
            with _Display(as_json=as_json) as display:
                return await console.update(folder, channel=followed, observer=display.show)

    _print_outcome(asyncio.run(run()), as_json=as_json)


@click.command()
@click.argument("folder", type=_Folder)
@fetch_options
@click.pass_obj
@reports_errors
def repair(
    settings: Settings,
    *,
    folder: Path,
    edges: tuple[str, ...],
    limit_rate: str | None,
    as_json: bool,
) -> None:
    """Mend what `verify` finds in FOLDER; only what is damaged is fetched."""

    async def run() -> Report:
        async with _console(settings, edges, limit_rate) as console:
            with _Display(as_json=as_json) as display:
                return await console.repair(folder, observer=display.show)

    _print_outcome(asyncio.run(run()), as_json=as_json)


@click.command()
@click.argument("folder", type=_Folder)
@json_option
@click.pass_obj
@reports_errors
def uninstall(settings: Settings, *, folder: Path, as_json: bool) -> None:
    """Remove what was installed in FOLDER, and nothing else."""

    async def run() -> None:
        async with _console(settings) as console:
            removal = await console.uninstall(folder)
        if as_json:
            print_json(removal)
            return
        output.print(f"removed {removal.files_removed:,} files of {removal.title}")
        for path in removal.left:
            errors.print(f"left     {path}: it is not what was installed")

    asyncio.run(run())


@click.command()
@click.argument("folder", type=_Folder)
@json_option
@click.pass_obj
@reports_errors
def status(settings: Settings, *, folder: Path, as_json: bool) -> None:
    """Say what is installed in FOLDER, and what is under way."""

    async def run() -> None:
        async with _console(settings) as console:
            found = await console.status(folder)
        if as_json:
            print_json(found)
            return
        installed = "nothing yet" if found.version is None else f"{found.version}"
        figures = {
            "title": found.title,
            "channel": found.channel,
            "version": installed + ("" if found.is_complete else ", not complete"),
            "release": str(found.release or "-"),
            "size": f"{size_text(found.installed_bytes)} in {found.entries:,} entries",
        }
        if found.under_way is not None:
            staged = size_text(found.under_way.staged_bytes)
            figures["under way"] = f"{found.under_way.version}, {staged} staged"
            if found.under_way.is_in_place:
                figures["under way"] += "; files are being changed in place, not playable"
        print_figures(figures)

    asyncio.run(run())


def verify_folder(settings: Settings, folder: Path, *, as_json: bool) -> None:
    """Check every installed byte; exit with the code of damage if a wound is found."""

    async def run() -> bool:
        async with _console(settings) as console:
            found = await console.verify(folder)
        if as_json:
            print_json(found)
            return found.is_sound
        for wound in found.wounds:
            span = f"bytes {wound.start} to {wound.end}"
            errors.print(f"{wound.path}: {wound.fault.value}, {span}")
        speed = rate_text(found.checked_bytes, found.elapsed_s)
        verdict = "sound" if found.is_sound else f"{len(found.wounds)} wounds; `repair` mends them"
        output.print(f"{found.title} {found.version}: {verdict} ({speed})")
        return found.is_sound

    if not asyncio.run(run()):
        sys.exit(IntegrityError.exit_code)


@asynccontextmanager
async def _console(
    settings: Settings, edges: tuple[str, ...] = (), limit_rate: str | None = None
) -> AsyncIterator[Console]:
    telemetry.configure(json=settings.log_json)  # stdout is for the outcome
    chosen = settings.console
    if edges:
        chosen = msgspec.structs.replace(chosen, edges=edges)
    if limit_rate is not None:
        try:
            chosen = msgspec.structs.replace(chosen, limit_rate=ByteSize.parse(limit_rate))
        except ValueError as error:
            raise SettingsError(f"--limit-rate: {error}") from error
    if chosen.trust.root is None:
        trust = msgspec.structs.replace(
            chosen.trust, root=settings.data / settings.keys.dir / TRUSTED_ROOT
        )
        chosen = msgspec.structs.replace(chosen, trust=trust)
    give_back_large_blocks()
    clock = SystemClock()
    async with (
        remembered_in(settings.data / EDGES_FILE, clock) as memory,
        HttpClient(chosen.http, addresses=memory.addresses) as http,
    ):
        yield Console(chosen, http, lease_source(settings, http), clock, memory=memory)


class _Display:
    """Shows the events of an operation: the plan, a bar, and when the title is playable."""

    def __init__(self, *, as_json: bool) -> None:
        self._is_silent = as_json
        self._bar: Progress = progress_bar(as_json=as_json)
        self._task: TaskID = self._bar.add_task("fetch", total=None)
        self.show: Observer = self._show

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def _show(self, event: Event) -> None:
        match event:
            case Planned(version=version, plan=plan):
                self._say(f"to {version}: {_plan_text(plan)}")
            case Moved(done_bytes=done, total_bytes=total):
                self._bar.update(self._task, completed=done, total=total or None)
            case Playable(after_s=after_s):
                self._say(f"playable after {duration_text(after_s)}")

    def _say(self, text: str) -> None:
        if not self._is_silent:
            errors.print(text)


_MODE_TEXTS = {
    Mode.OVERLAY: "",
    Mode.CLONE: ", on clones of old files",
    Mode.IN_PLACE: ", in place: not playable meanwhile",
}


def _plan_text(plan: Plan) -> str:
    time = "" if plan.estimated_s is None else f" in about {duration_text(plan.estimated_s)}"
    deltas = ""
    if plan.deltas:
        made = size_text(plan.delta_made_bytes)
        steps = f", {size_text(plan.delta_step_bytes)} by the way" if plan.delta_step_bytes else ""
        deltas = f" ({plan.deltas:,} deltas of {size_text(plan.delta_bytes)} make {made}{steps})"
    return (
        f"download {size_text(plan.download_bytes)} by {plan.requests} requests{time}{deltas},"
        f" write {size_text(plan.write_bytes)},"
        f" reuse {size_text(plan.reused_bytes + plan.kept_bytes)},"
        f" extra room {size_text(plan.peak_extra_bytes)}{_MODE_TEXTS[plan.mode]};"
        f" {plan.files_added} files added, {plan.files_changed} changed,"
        f" {plan.files_removed} removed, {plan.files_unchanged} unchanged"
    )


def _print_outcome(outcome: Report | Plan, *, as_json: bool) -> None:
    if as_json:
        print_json(outcome)
    elif isinstance(outcome, Plan):
        output.print(_plan_text(outcome))
    else:
        print_figures(_report_figures(outcome))


def _report_figures(report: Report) -> dict[str, str]:
    figures = {
        "installed": f"{report.title} {report.version}, release {report.release}",
        "downloaded": f"{size_text(report.received_bytes)} in {report.requests} requests"
        f" (planned {size_text(report.plan.download_bytes)} in {report.plan.requests},"
        " and the manifest)",
        "written": size_text(report.written_bytes),
        "made by deltas": size_text(report.delta_made_bytes),
        "reused": size_text(report.reused_bytes),
        "complete after": duration_text(report.complete_s),
    }
    if report.failed_deltas:
        figures["failed deltas"] = f"{report.failed_deltas:,}; plain chunks were fetched instead"
    if report.failed_requests:
        figures["failed requests"] = str(report.failed_requests)
    if report.playable_s is not None:
        figures["playable after"] = duration_text(report.playable_s)
    if report.first_chunk_s is not None:
        figures["first chunk after"] = duration_text(report.first_chunk_s)
    return figures
