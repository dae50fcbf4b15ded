"""What a person sees: progress, plans and errors; and what a machine gets instead."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn, ParamSpec, TypeVar

import click
import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from kit.errors import Interrupted, PlayheadError

P = ParamSpec("P")
R = TypeVar("R")

# No markup: what is printed names files, and those may hold any bracket.
errors = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
output = Console(markup=False, highlight=False, soft_wrap=True)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object for machines, no progress."
)


def progress_bar(*, as_json: bool) -> Progress:
    """Return a bar with speed and time left, on standard error; silent for machines."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=errors,
        disable=as_json or not errors.is_terminal,
    )


def print_json(value: object) -> None:
    """Print ``value`` on one line of standard output."""
    click.echo(msgspec.json.encode(value, enc_hook=str).decode())


def print_figures(figures: Mapping[str, str]) -> None:
    """Print names and values in two columns."""
    width = max(map(len, figures))
    for name, value in figures.items():
        click.echo(f"{name:<{width}}  {value}")


def notice(text: str) -> None:
    """Say on standard error what a person should know."""
    errors.print(text)


def waiting_for(rival: object) -> None:
    """Say who has the lock that a command waits for."""
    errors.print(f"waiting for {rival}")


def which_release(text: str) -> str | int:
    """Read what names a release: a version, or `@` and a counter."""
    return int(text[1:]) if text.startswith("@") and text[1:].isdigit() else text


def rate_text(size: float, seconds: float) -> str:
    """Return a throughput: ``312 MB/s``."""
    return f"{size / max(seconds, 1e-9) / 1e6:.0f} MB/s"


def duration_text(seconds: float) -> str:
    """Return a duration as people read it: ``85 ms``, ``3.2 s``, ``4 min 10 s``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn our errors into one line on standard error and an exit code.

    With ``--json`` the error is also the object that the last line of standard output holds.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except PlayheadError as error:
            _fail(error, as_json=bool(kwargs.get("as_json")))
        except KeyboardInterrupt:
            stopped = Interrupted("stopped; the same command goes on from here")
            _fail(stopped, as_json=bool(kwargs.get("as_json")))

    return wrapped


def _fail(error: PlayheadError, *, as_json: bool) -> NoReturn:
    if as_json:
        print_json({"error": {"code": error.code, "message": str(error)}})
    errors.print("playhead:", style="bold red", end=" ")
    errors.print(str(error))
    sys.exit(error.exit_code)
