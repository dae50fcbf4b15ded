"""Apply deltas in a process of its own, one after another; print how many held, and the peak.

Usage: ``python -m tests.applying_child FOLDER COUNT``, where FOLDER has ``base``, and for each
number a payload and a file that says its method and the target's size.
"""

from __future__ import annotations

import sys
from pathlib import Path

from chunks.delta import Method, apply_delta
from kit.errors import FormatError
from kit.memory import peak_bytes


def main(folder: Path, count: int) -> None:
    made_count = 0
    base = (folder / "base").read_bytes()
    for at in range(count):
        method, size = map(int, (folder / f"{at}.args").read_text().split())
        payload = (folder / f"{at}").read_bytes()
        try:
            apply_delta(Method(method), payload, b"" if method == Method.LZMA else base, size)
        except FormatError:
            continue
        made_count += 1
    print(made_count, peak_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
