"""A publisher's question before a push: why is this patch big?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from rich.table import Table

from kit.clock import SystemClock
from kit.errors import InvalidInput
from kit.units import size_text
from packager.explaining import explain_folders, explain_releases
from packager.layout import load_layout
from packager.patch_report import PatchReport
from packager.picture import draw
from playhead.cli.origin_option import at_origin
from playhead.cli.publisher import ProgressOnBar
from playhead.cli.terminal import (
    duration_text,
    errors,
    json_option,
    output,
    print_json,
    progress_bar,
    reports_errors,
    waiting_for,
    which_release,
)
from playhead.publishing import publisher
from playhead.settings import Settings

FILES_SHOWN_MAX = 15
PATHS_SHOWN_MAX = 3

_File = click.Path(exists=True, dir_okay=False, path_type=Path)
_NewFile = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command()
@click.argument("old")
@click.argument("new")
@click.option("--title", help="OLD and NEW are releases of it: versions, or `@` and a counter.")
@click.option("--layout", type=_File, help="Install groups and play order (TOML).")
@click.option("--ignore", multiple=True, metavar="PATTERN", help="Leave out; as in .gitignore.")
@click.option("--html", type=_NewFile, help="Write a page with pictures to this file.")
@json_option
@click.pass_obj
@reports_errors
@at_origin
def explain(
    settings: Settings,
    *,
    old: str,
    new: str,
    title: str | None,
    layout: Path | None,
    ignore: tuple[str, ...],
    html: Path | None,
    as_json: bool,
) -> None:
    """Say why the patch from OLD to NEW, two folders of builds, is big, and what to do."""

    async def of_folders() -> PatchReport:
        with progress_bar(as_json=as_json) as bar:
            return await explain_folders(
                _folder(old),
                _folder(new),
                layout=None if layout is None else load_layout(layout),
                ignore=ignore,
                clock=SystemClock(),
                display=ProgressOnBar(bar, "explain"),
            )

    async def of_releases(title: str) -> PatchReport:
        if layout is not None or ignore:
            raise click.UsageError("--layout and --ignore are for folders: a release has its own")
        async with publisher(settings, title, waiting_for) as desk:
            return await explain_releases(
                desk.store, which_release(old), which_release(new), clock=SystemClock()
            )

    report = asyncio.run(of_folders() if title is None else of_releases(title))
    if html is not None:
        _write(html, draw(report))
    if as_json:
        print_json(report)
    elif html is None:
        _print(report)


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise click.BadParameter(f"{text} is no folder; name a title for releases: --title")
    return Path(text)


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from error
    errors.print(f"wrote {path}")


def _print(report: PatchReport) -> None:
    update = report.update
    output.print(f"{report.old} -> {report.new}")
    output.print(
        f"An update downloads {size_text(update.size)} in {update.request_count:,} requests, after"
        f" {size_text(update.manifest_size)} of manifest, for a build of {size_text(report.size)}."
    )
    if report.delta_size is not None:
        output.print(f"With deltas it downloads {size_text(report.delta_size)}.")
    output.print()
    output.print(_groups(report))
    if report.files:
        output.print()
        output.print(_files(report))
    left = len(report.files) - FILES_SHOWN_MAX
    if left > 0:
        output.print(f"and {left:,} more")
    _print_findings(report)
    output.print(
        f"\nLooked at {size_text(report.read_size)} of bytes, in"
        f" {duration_text(report.total_seconds)}. --html FILE draws it, --json has every file."
    )


def _groups(report: PatchReport) -> Table:
    table = _table("download", "new", "changed", "moved", "unchanged", "files", "group")
    rows = [(g.name, g.file_count, g.changed_count, g.sizes) for g in report.groups]
    if len(rows) > 1:
        rows.append(("(all)", sum(r[1] for r in rows), sum(r[2] for r in rows), report.sizes))
    for name, file_count, changed_count, sizes in rows:
        parts = (sizes.download, sizes.new, sizes.changed, sizes.moved, sizes.unchanged)
        table.add_row(*map(size_text, parts), f"{changed_count:,} of {file_count:,}", name)
    return table


def _files(report: PatchReport) -> Table:
    table = _table("download", "size", "new", "changed", "moved", "why", "file")
    numbers = {finding.cause: str(number) for number, finding in enumerate(report.findings, 1)}
    for file in report.files[:FILES_SHOWN_MAX]:
        shares = (file.sizes.new, file.sizes.changed, file.sizes.moved)
        table.add_row(
            size_text(file.sizes.download),
            size_text(file.size),
            *(f"{share / max(file.size, 1):.0%}" for share in shares),
            "" if file.cause is None else numbers[file.cause],
            file.path,
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns[:-1]:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    return table


def _print_findings(report: PatchReport) -> None:
    for number, finding in enumerate(report.findings, 1):
        cost = f"{size_text(finding.download_size)} to download"
        if finding.moved_size:
            cost += f", {size_text(finding.moved_size)} to write elsewhere"
        files = "1 file" if finding.file_count == 1 else f"{finding.file_count:,} files"
        output.print(f"\n{number}. {finding.title} [{finding.cause.value}]", style="bold")
        output.print(f"   {files}, {cost}")
        shown = finding.paths[:PATHS_SHOWN_MAX]
        left = finding.file_count - len(shown)
        output.print(f"   {', '.join(shown)}" + (f" and {left:,} more" if left else ""))
        output.print(f"   Seen: {finding.evidence}.")
        output.print(f"   {finding.advice}")
