"""How every benchmark shows its rows: a table for people, kept with the machine it ran on."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """Say what this ran on, and how busy it was: figures of a shared machine are noisy."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load:.1f}"


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows ``--save``."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--save", action="store_true", help="keep the table in benchmarks/results")
    return made


def show(
    name: str, command: str, rows: Sequence[Sequence[str]], *, save: bool, notes: Sequence[str] = ()
) -> None:
    """Print ``rows``, the first of which is the heading, and keep them if ``save``."""
    head, *body = rows
    lines = [f"# {name}", "", f"`{command}`  ", machine(), "", _row(head)]
    lines += [_row(["---"] * len(head)), *map(_row, body), ""]
    lines += [f"* {note}" for note in notes]
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    if save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
