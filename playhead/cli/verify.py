"""``playhead verify``: an installed folder, or a published title."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from kit.errors import IntegrityError
from kit.units import size_text
from packager.verify import Progress, Verdict
from packager.verify import verify as verify_title
from playhead.cli.origin_option import at_origin
from playhead.cli.player import verify_folder
from playhead.cli.terminal import (
    errors,
    json_option,
    output,
    print_json,
    progress_bar,
    reports_errors,
)
from playhead.publishing import publisher
from playhead.settings import Settings


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--title", help="Verify what is published of this title instead of a folder.")
@click.option("--quick", is_flag=True, help="With --title: existence and sizes only.")
@json_option
@click.pass_obj
@reports_errors
@at_origin
def verify(
    settings: Settings, folder: Path | None, title: str | None, quick: bool, as_json: bool
) -> None:
    """Check every byte of an installed FOLDER, or of a published title."""
    if (folder is None) == (title is None):
        raise click.UsageError("name either an installed FOLDER or --title TITLE")
    if title is not None:
        _verify_published(settings, title, is_quick=quick, as_json=as_json)
    if folder is not None:
        verify_folder(settings, folder, as_json=as_json)


def _verify_published(settings: Settings, title: str, *, is_quick: bool, as_json: bool) -> None:
    async def run() -> Verdict:
        async with publisher(settings, title, lambda _: None) as desk:
            with progress_bar(as_json=as_json) as bar:
                task = bar.add_task("verify", total=None)

                def show(progress: Progress) -> None:
                    bar.update(task, completed=progress.size_done, total=progress.size)

                return await verify_title(
                    desk.store, witness=desk.voucher, is_quick=is_quick, on_progress=show
                )

    verdict = asyncio.run(run())
    if as_json:
        print_json(verdict)
    else:
        for problem in verdict.problems:
            errors.print(f"{problem.key}: {problem.rule.value}: {problem.detail}")
        output.print(
            f"{verdict.release_count} releases of {verdict.build_count} builds, in"
            f" {verdict.bundle_count} bundles of {size_text(verdict.bundle_size)}:"
            f" {len(verdict.problems)} problems"
        )
    if not verdict.is_sound:
        sys.exit(IntegrityError.exit_code)
