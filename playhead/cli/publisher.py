"""A publisher's commands: push, releases, promote, rollback, sweep."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import msgspec
from rich.progress import Progress
from rich.table import Table

from kit.clock import SystemClock
from kit.units import Seconds, size_text
from manifests import names
from packager.explain import Explanation
from packager.layout import load_layout
from packager.progress import PushProgress
from packager.push import PushReport, PushRequest
from packager.push import push as push_folder
from packager.releases import Move, ReleaseRow, list_releases
from packager.releases import promote as promote_release
from packager.releases import rollback as roll_back
from packager.sweep import SweepPlan, plan_sweep
from packager.sweep import sweep as carry_out
from playhead.cli.deltas import DeltasOnBar, add_after_push, deltas_figures
from playhead.cli.origin_option import at_origin
from playhead.cli.terminal import (
    duration_text,
    errors,
    json_option,
    notice,
    output,
    print_figures,
    print_json,
    progress_bar,
    rate_text,
    reports_errors,
    waiting_for,
    which_release,
)
from playhead.publishing import publisher
from playhead.settings import Settings

FILES_SHOWN_MAX = 40

_Folder = click.Path(exists=True, file_okay=False, path_type=Path)
_File = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("folder", type=_Folder)
@click.option("--title", required=True, help="Which title this is a build of.")
@click.option("--version", required=True, help="A label for people: one version, one content.")
@click.option("--channel", required=True, help="The channel that shall play it.")
@click.option("--layout", type=_File, help="Install groups and play order (TOML).")
@click.option("--ignore", multiple=True, metavar="PATTERN", help="Leave out; as in .gitignore.")
@click.option("--dry-run", is_flag=True, help="Say what would change and cost; store nothing.")
@click.option("--if-changed", is_flag=True, help="Do nothing if the channel plays these files.")
@click.option("--wait-deltas", is_flag=True, help="Make the deltas before the release is live.")
@click.option("--no-deltas", is_flag=True, help="Leave them to `playhead deltas add`.")
@json_option
@click.pass_obj
@reports_errors
@at_origin
def push(
    settings: Settings,
    *,
    folder: Path,
    title: str,
    version: str,
    channel: str,
    layout: Path | None,
    ignore: tuple[str, ...],
    dry_run: bool,
    if_changed: bool,
    wait_deltas: bool,
    no_deltas: bool,
    as_json: bool,
) -> None:
    """Publish FOLDER as a release of a title, and point a channel to it.

    The release is live first; then the deltas are made that spare players most of an update.
    """
    if wait_deltas and no_deltas:
        raise click.UsageError("--wait-deltas and --no-deltas exclude each other")

    async def run() -> PushReport:
        async with publisher(settings, title, waiting_for, notice) as desk:
            request = PushRequest(
                source=folder,
                version=names.version(version),
                channel=names.channel(channel),
                cache_folder=desk.cache_folder,
                layout=None if layout is None else load_layout(layout),
                ignore=ignore,
                dry_run=dry_run,
                if_changed=if_changed,
                wait_deltas=settings.packager.deltas if wait_deltas else None,
            )
            with progress_bar(as_json=as_json) as bar:
                report = await push_folder(
                    desk.store,
                    request,
                    lock=desk.lock,
                    clock=SystemClock(),
                    voucher=desk.voucher,
                    display=ProgressOnBar(bar, "push"),
                    on_deltas=DeltasOnBar(bar).show,
                )
            before, now = report.previous_counter, report.counter
            if no_deltas or wait_deltas or before is None or now is None or before == now:
                return report
            if not as_json:
                errors.print(f"live: release {now}; making the deltas from release {before}")
            deltas = await add_after_push(settings, desk, before, now, as_json=as_json)
            return msgspec.structs.replace(report, deltas=deltas)

    report = asyncio.run(run())
    if as_json:
        print_json(report)
        return
    print_figures(_push_figures(report))
    for trouble in report.start_troubles:
        notice(trouble)
    if report.explanation is not None:
        _print_explanation(report.explanation)


@click.command()
@click.argument("title")
@json_option
@click.pass_obj
@reports_errors
@at_origin
def releases(settings: Settings, title: str, as_json: bool) -> None:
    """List the releases of TITLE, newest first, and the channels that play them."""

    async def run() -> list[ReleaseRow]:
        async with publisher(settings, title, waiting_for, notice) as desk:
            return await list_releases(desk.store)

    rows = asyncio.run(run())
    if as_json:
        print_json(rows)
        return
    table = Table("release", "version", "published", "installed", "build", "channels", box=None)
    for row in rows:
        size = "unreadable" if row.installed_size is None else size_text(row.installed_size)
        release = row.release
        table.add_row(
            str(release.counter),
            release.version,
            release.created_at,
            size,
            release.root.digest[:12],
            " ".join(row.channels),
        )
    output.print(table)


@click.command()
@click.argument("title")
@click.argument("release")
@click.option("--to", "channel", required=True, help="The channel that shall play it.")
@json_option
@click.pass_obj
@reports_errors
@at_origin
def promote(settings: Settings, title: str, release: str, channel: str, as_json: bool) -> None:
    """Point a channel forward to RELEASE of TITLE: a version, or `@` and a counter."""

    async def run() -> Move:
        async with publisher(settings, title, waiting_for, notice) as desk, desk.lock:
            return await promote_release(
                desk.store,
                desk.lock,
                which_release(release),
                names.channel(channel),
                voucher=desk.voucher,
            )

    _print_move(asyncio.run(run()), as_json=as_json)


@click.command()
@click.argument("title")
@click.option("--channel", required=True, help="The channel to take back.")
@click.option("--to", "release", help="A version, or `@` and a counter; default: the build before.")
@json_option
@click.pass_obj
@reports_errors
@at_origin
def rollback(
    settings: Settings, title: str, channel: str, release: str | None, as_json: bool
) -> None:
    """Make a channel of TITLE play an older build again, as a new release."""

    async def run() -> Move:
        async with publisher(settings, title, waiting_for, notice) as desk, desk.lock:
            to = None if release is None else which_release(release)
            return await roll_back(
                desk.store,
                desk.lock,
                names.channel(channel),
                to,
                clock=SystemClock(),
                voucher=desk.voucher,
            )

    _print_move(asyncio.run(run()), as_json=as_json)


@click.command()
@click.argument("title")
@click.option("--keep", type=int, help="Newest releases that are live; default from settings.")
@click.option("--grace", help="Age below which nothing goes, such as 3d; default from settings.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted; delete nothing.")
@json_option
@click.pass_obj
@reports_errors
@at_origin
def sweep(
    settings: Settings,
    *,
    title: str,
    keep: int | None,
    grace: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete what no live release of TITLE needs."""
    chosen = settings.packager.sweep
    if keep is not None:
        chosen = msgspec.structs.replace(chosen, keep=_positive(keep))
    if grace is not None:
        chosen = msgspec.structs.replace(chosen, grace=_duration(grace))

    async def run() -> SweepPlan:
        async with publisher(settings, title, waiting_for, notice) as desk, desk.lock:
            plan = await plan_sweep(desk.store, desk.lock, chosen)
            if not dry_run:
                await carry_out(desk.store, desk.lock, plan)
            return plan

    plan = asyncio.run(run())
    if as_json:
        print_json(
            {
                "deleted_count": 0 if dry_run else plan.count,
                "deleted_bytes": 0 if dry_run else plan.size,
                "plan": plan,
            }
        )
        return
    for live in plan.live:
        kept = live.release
        output.print(f"kept     release {kept.counter} ({kept.version}): {', '.join(live.reasons)}")
    for stage in plan.stages:
        if stage:
            size = sum(deletion.size for deletion in stage)
            verb = "would go" if dry_run else "deleted "
            output.print(f"{verb} {len(stage)} x {stage[0].why}, {size_text(size)}")
    output.print(
        f"spared   {plan.spared_count} that no release needs but are younger than the grace time,"
        f" {size_text(plan.spared_size)}"
    )


class ProgressOnBar:
    """Shows a push, or what reads folders as one does, on a progress bar."""

    def __init__(self, bar: Progress, verb: str) -> None:
        self._bar = bar
        self._task = bar.add_task(verb, total=None)

    def show(self, progress: PushProgress) -> None:
        """Take in a moment."""
        self._bar.update(self._task, completed=progress.done_size, total=progress.total_size)


def _positive(count: int) -> int:
    if count < 1:
        raise click.BadParameter("at least 1", param_hint="--keep")
    return count


def _duration(text: str) -> Seconds:
    try:
        return Seconds.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--grace") from error


def _print_move(move: Move, *, as_json: bool) -> None:
    if as_json:
        print_json(move)
        return
    release = move.head.release
    verb = "now plays" if move.is_new else "plays already"
    output.print(
        f"channel {move.head.channel} {verb} release {release.counter} ({release.version})"
    )


def _push_figures(report: PushReport) -> dict[str, str]:
    changes = report.changes
    stages = msgspec.structs.asdict(report)["stage_seconds"]
    seconds = ", ".join(
        f"{name} {getattr(stages, name):.1f} s" for name in ("read", "hash", "compress", "upload")
    )
    release = "none (dry run)" if report.counter is None else f"{report.counter}, {report.outcome}"
    return {
        "release": release,
        "build": report.build_id[:12],
        "files": f"{report.entry_count:,} ({changes.added} added, {changes.changed} changed,"
        f" {changes.removed} removed)",
        "size": size_text(report.build_size),
        "stored": size_text(report.stored_size),
        "starts with": f"{size_text(report.first_steps.first_chunk_size)} of the first chunk, after"
        f" {size_text(report.first_steps.root_size + report.first_steps.page_size)} of manifest",
        "read": size_text(report.read_size),
        "chunks": f"{report.chunk_count:,} ({report.new_chunk_count:,} new,"
        f" {report.resumed_chunk_count:,} from an earlier try)",
        "to upload" if report.counter is None else "uploaded": size_text(report.uploaded_size),
        "time": f"{duration_text(report.total_seconds)}"
        f" ({rate_text(report.build_size, report.total_seconds)})",
        "thread time": seconds,
        **deltas_figures(report.deltas or ()),
    }


def _print_explanation(explanation: Explanation) -> None:
    for file in explanation.files[:FILES_SHOWN_MAX]:
        sizes = f"{size_text(file.old_size):>10} -> {size_text(file.new_size):>10}"
        click.echo(f"{file.change.value:8} {sizes}  {file.path}")
    left = len(explanation.files) - FILES_SHOWN_MAX
    if left > 0:
        output.print(f"and {left:,} more; --json lists them all")
    for name, download in (("update", explanation.update), ("install", explanation.install)):
        if download is not None:
            output.print(
                f"an {name} downloads {size_text(download.size)} in {download.request_count}"
                f" requests, after {size_text(download.manifest_size)} of manifest"
            )
