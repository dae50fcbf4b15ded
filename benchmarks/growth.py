"""How time and memory of every role grow with a build: 100 MB to 5 GB, 10 to 100,000 files.

Each row runs the whole product as the demo does, every role a process of its own.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.synthetic import change_build, write_build
from benchmarks.table import parser, show
from playhead.demo import run_demo

MB = 1_000_000
CASES = [
    (100 * MB, 10),
    (100 * MB, 10_000),
    (100 * MB, 100_000),
    (1000 * MB, 10),
    (1000 * MB, 10_000),
    (5000 * MB, 1),
    (5000 * MB, 10_000),
    (5000 * MB, 100_000),
]
QUICK = 3


def main() -> None:
    """Run every case and print its row."""
    options = parser(__doc__)
    options.add_argument("--quick", action="store_true", help=f"the first {QUICK} cases only")
    options.add_argument("--folder", type=Path, help="where to work; needs 25 GB")
    chosen = options.parse_args()
    head = ["build", "files", "push", "re-push of 2 % changed", "install", "update"]
    head += [f"{role} peak" for role in ("packager", "origin", "edge", "console")]
    rows = [head]
    for size, file_count in CASES[: QUICK if chosen.quick else None]:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
            rows.append(_row(Path(scratch), size, file_count))
            print(rows[-1], flush=True)
    show("growth", "python -m benchmarks.growth", rows, save=chosen.save)


def _row(scratch: Path, size: int, file_count: int) -> list[str]:
    old, new = scratch / "old", scratch / "new"
    write_build(old, size, file_count)
    shutil.copytree(old, new)
    change_build(new)
    figures = run_demo(scratch, old, new, lambda _line: None).figures()
    peaks = figures["peak_rss_bytes"]
    return [
        f"{size // MB:,} MB",
        f"{file_count:,}",
        *(f"{figures[key]:.1f} s" for key in ("push_s", "new_push_s", "complete_s", "update_s")),
        *(f"{peaks[role] / MB:.0f} MB" for role in ("packager", "origin", "edge", "console")),
    ]


if __name__ == "__main__":
    main()
