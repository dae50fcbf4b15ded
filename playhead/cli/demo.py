"""``playhead demo``: the whole product in one go."""

from __future__ import annotations

from pathlib import Path

import click

from kit.units import size_text
from playhead.cli.terminal import (
    duration_text,
    errors,
    print_figures,
    print_json,
    rate_text,
    reports_errors,
)
from playhead.demo import DemoReport, run_demo

_Folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--old", type=_Folder, help="First build; by default a fetched release of panda3d.")
@click.option("--new", type=_Folder, help="Second build; by default the release after it.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True,
    help="Where to work; its folder 'run' is emptied first.",
)  # fmt: skip
@reports_errors
def demo(old: Path | None, new: Path | None, folder: Path) -> None:
    """Publish a build, install it through an edge, publish the next, update, compare, measure."""
    report = run_demo(folder.resolve(), old, new, errors.print)
    print_figures(_figures(report))
    print_json(report.figures())


def _figures(report: DemoReport) -> dict[str, str]:
    found = report.figures()
    peaks = ", ".join(f"{role} {size_text(peak)}" for role, peak in report.peak_rss_bytes.items())
    return {
        "first build": size_text(found["build_bytes"]),
        "second build": size_text(found["new_build_bytes"]),
        "stored after the first push": size_text(found["stored_bytes"]),
        "stored after the second push": size_text(found["new_stored_bytes"]),
        "first push": _speed(found["build_bytes"], found["push_s"]),
        "second push": _speed(found["new_build_bytes"], found["new_push_s"]),
        "install downloaded": size_text(found["install_bytes"]),
        "install requests": str(found["install_requests"]),
        "first verified chunk after": duration_text(found["first_chunk_s"]),
        "playable after": duration_text(found["playable_s"]),
        "complete after": _speed(found["build_bytes"], found["complete_s"]),
        "update downloaded": size_text(found["update_bytes"]),
        "update requests": str(found["update_requests"]),
        "update complete after": _speed(found["new_build_bytes"], found["update_s"]),
        "peak memory": peaks,
        "installed trees": "identical to the published ones",
    }


def _speed(size: int, seconds: float) -> str:
    return f"{duration_text(seconds)} ({rate_text(size, seconds)})"
