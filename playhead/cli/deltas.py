"""A publisher's commands for deltas: add, list."""

from __future__ import annotations

import asyncio

import click
from rich.progress import Progress
from rich.table import Table

from kit.clock import SystemClock
from kit.errors import Conflict, NotFound
from kit.units import size_text
from manifests.documents import DeltaSet
from packager.delta_report import Way, ways_to
from packager.deltas import DeltaReport, add_deltas, chosen_release
from packager.patches import DeltaTally
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
    waiting_for,
    which_release,
)
from playhead.publishing import Desk, publisher
from playhead.settings import Settings


@click.group()
def deltas() -> None:
    """Make and list deltas: what spares players most of an update."""


@deltas.command()
@click.argument("title")
@click.option("--from", "base", help="A version, or `@` and a counter; default: the build before.")
@click.option("--to", "target", help="A version, or `@` and a counter; default: the newest.")
@json_option
@click.pass_obj
@reports_errors
def add(
    settings: Settings, title: str, base: str | None, target: str | None, as_json: bool
) -> None:
    """Make the deltas of TITLE from one release to another."""

    async def run() -> DeltaReport:
        async with publisher(settings, title, waiting_for) as desk:
            since = None if base is None else which_release(base)
            to = None if target is None else which_release(target)
            return await _add(settings, desk, since, to, as_json=as_json)

    report = asyncio.run(run())
    if as_json:
        print_json(report)
        return
    print_figures({"deltas": deltas_text(report)})


@deltas.command("list")
@click.argument("title")
@json_option
@click.pass_obj
@reports_errors
def list_sets(settings: Settings, title: str, as_json: bool) -> None:
    """List the delta sets of TITLE, newest first."""

    async def run() -> list[DeltaSet]:
        async with publisher(settings, title, waiting_for) as desk:
            return await desk.store.delta_sets()

    sets = asyncio.run(run())[::-1]
    if as_json:
        print_json(sets)
        return
    table = Table("from", "to", "deltas", "size", "instead of", "ratio", box=None)
    for each in sets:
        ratio = each.size / max(each.plain_size, 1)
        sizes = size_text(each.size), size_text(each.plain_size)
        table.add_row(str(each.base), str(each.target), f"{each.count:,}", *sizes, f"{ratio:.0%}")
    output.print(table)


@deltas.command()
@click.argument("title")
@click.option("--to", "target", help="A version, or `@` and a counter; default: the newest.")
@json_option
@click.pass_obj
@reports_errors
def report(settings: Settings, title: str, target: str | None, as_json: bool) -> None:
    """Say what an update of TITLE costs from each older build, and which sets would pay."""

    async def run() -> list[Way]:
        async with publisher(settings, title, waiting_for) as desk:
            releases = await desk.store.releases()
            which = None if target is None else which_release(target)
            newest = chosen_release(desk.store.title, releases, which)
            return await ways_to(desk.store, newest, releases)

    ways = asyncio.run(run())
    if as_json:
        print_json(ways)
        return
    table = Table(
        "from", "version", "update", "without deltas", "deltas", "in a row", "own set", box=None
    )
    for way in ways:
        own = "" if way.own_set_size is None else f"about {size_text(way.own_set_size)}"
        row = (str(way.base), way.version, size_text(way.size), size_text(way.plain_size))
        table.add_row(*row, f"{way.delta_count:,}", str(way.depth), own)
    output.print(table)
    for way in ways:
        if way.would_pay:
            output.print(f"would pay: playhead deltas add {title} --from @{way.base}")


async def add_after_push(
    settings: Settings, desk: Desk, base: int, target: int, *, as_json: bool
) -> DeltaReport | None:
    """Make the deltas of a release that is live already; None if there is nothing to make."""
    try:
        return await _add(settings, desk, base, target, as_json=as_json)
    except (Conflict, NotFound) as error:
        # The release is live and stays so: what is missing only makes updates larger.
        errors.print(f"no deltas: {error}")
        return None


def deltas_text(report: DeltaReport) -> str:
    """Return one line about a delta set."""
    if report.was_there:
        return f"from release {report.base} to {report.target} were made before"
    if not report.count:
        return "none pays"
    speed = rate_text(report.missing_size, report.seconds)
    quick = f", {report.quick_count:,} runs in haste" if report.quick_count else ""
    return (
        f"{report.count:,} of {size_text(report.size)} instead of {size_text(report.plain_size)}"
        f" in {duration_text(report.seconds)} ({speed} of new chunks{quick})"
    )


async def _add(
    settings: Settings,
    desk: Desk,
    base: str | int | None,
    target: str | int | None,
    *,
    as_json: bool,
) -> DeltaReport:
    with progress_bar(as_json=as_json) as bar:
        return await add_deltas(
            desk.store,
            desk.new_lock(),
            base,
            target,
            settings=settings.packager.deltas,
            cache_folder=desk.cache_folder,
            clock=SystemClock(),
            on_progress=_Bar(bar).show,
        )


class _Bar:
    """Shows the making of deltas on a progress bar."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("deltas", total=None)

    def show(self, tally: DeltaTally) -> None:
        self._bar.update(self._task, completed=tally.done_size, total=tally.missing_size)
