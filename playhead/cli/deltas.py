"""A publisher's commands for deltas: add, list."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click
import msgspec
from rich.progress import Progress, TaskID
from rich.table import Table

from kit.clock import SystemClock
from kit.errors import Conflict, NotFound
from kit.units import size_text
from manifests.documents import DeltaSet, Release
from packager.delta_report import Way, ways_to
from packager.deltas import DeltaReport, add_deltas, chosen_release
from packager.own_sets import OwnSetOmitted
from packager.patches import DeltaTally
from packager.settings import DeltaSettings
from playhead.cli.origin_option import at_origin
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
@click.option("--from", "base", help="A version, or `@` and a counter: from this one alone.")
@click.option("--to", "target", help="A version, or `@` and a counter; default: the newest.")
@json_option
@click.pass_obj
@reports_errors
@at_origin
def add(
    settings: Settings, title: str, base: str | None, target: str | None, as_json: bool
) -> None:
    """Make the deltas of TITLE to a release: from the build before, and from those before it."""

    async def run() -> list[DeltaReport]:
        async with publisher(settings, title, waiting_for) as desk:
            since = None if base is None else which_release(base)
            to = None if target is None else which_release(target)
            limits = settings.packager.deltas
            if base is not None:
                limits = msgspec.structs.replace(limits, reach=1)
            found: list[DeltaReport] = []
            await _add(found, limits, desk, since, to, as_json=as_json)
            return found

    reports = asyncio.run(run())
    if as_json:
        print_json(reports)
        return
    print_figures(deltas_figures(reports))


@deltas.command("list")
@click.argument("title")
@json_option
@click.pass_obj
@reports_errors
@at_origin
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
@at_origin
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
) -> tuple[DeltaReport, ...] | None:
    """Make the deltas of a release that is live already; None if there is nothing to make."""
    found: list[DeltaReport] = []
    try:
        await _add(found, settings.packager.deltas, desk, base, target, as_json=as_json)
    except (Conflict, NotFound) as error:
        # The release is live and stays so: what is missing only makes updates larger.
        errors.print(f"no {'more ' if found else ''}deltas: {error}")
    return tuple(found) or None


def deltas_figures(reports: Sequence[DeltaReport]) -> dict[str, str]:
    """Return one line about each delta set, by where it leads from."""
    return {f"deltas from {each.base}": deltas_text(each) for each in reports}


def deltas_text(report: DeltaReport) -> str:
    """Return one line about a delta set."""
    if report.omitted is not None:
        return f"no set of its own: {_omitted_text(report.omitted)}"
    if report.was_there:
        return f"to release {report.target} were made before"
    if not report.count:
        return "none pays"
    borrowed = ""
    if report.borrowed_count:
        borrowed = f", {report.borrowed_count:,} of them borrowed"
    speed = rate_text(report.missing_size, report.seconds)
    quick = f", {report.quick_count:,} runs in haste" if report.quick_count else ""
    return (
        f"{report.count:,} of {size_text(report.size)} instead of {size_text(report.plain_size)}"
        f" in {duration_text(report.seconds)} ({speed} of new chunks{borrowed}{quick})"
    )


def _omitted_text(omitted: OwnSetOmitted) -> str:
    way, spared = size_text(omitted.way_size), size_text(omitted.spared_size)
    match omitted.reason:
        case "few-stones":
            return f"in steps it is {way}, of which it would spare {spared} at most"
        case "spares-little":
            return f"in steps it is {way}, of which it would spare {spared}"
        case "no-time":
            return (
                f"in steps it is {way}, of which it might spare {spared},"
                " but packager.deltas.cpu_seconds_max was used up"
            )


async def _add(
    found: list[DeltaReport],
    limits: DeltaSettings,
    desk: Desk,
    base: str | int | None,
    target: str | int | None,
    *,
    as_json: bool,
) -> None:
    """Make deltas; ``found`` hears of each set that is known, though a later one may fail."""
    with progress_bar(as_json=as_json) as bar:
        making = add_deltas(
            desk.store,
            desk.new_lock,
            base,
            target,
            settings=limits,
            cache_folder=desk.cache_folder,
            clock=SystemClock(),
            on_progress=DeltasOnBar(bar).show,
        )
        async for report in making:
            found += [report]


class DeltasOnBar:
    """Shows the making of deltas on a progress bar: a line for each set."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[int, TaskID] = {}

    def show(self, base: Release, tally: DeltaTally) -> None:
        """Take in a moment."""
        if base.counter not in self._tasks:
            self._tasks[base.counter] = self._bar.add_task(f"deltas from {base.counter}")
        task = self._tasks[base.counter]
        self._bar.update(task, completed=tally.done_size, total=tally.missing_size)
