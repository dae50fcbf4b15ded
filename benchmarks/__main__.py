"""Run every benchmark that needs no arguments, one after another; arguments go to each."""

from __future__ import annotations

import subprocess
import sys

NAMES = [
    "metadata",
    "trust",
    "trusted_heads",
    "download_start",
    "packaging",
    "remote_push",
    "install",
    "leases",
    "engines",
    "cold_fill",
    "cache_restart",
    "eviction",
    "generic_cache",
    "serving",
    "workers",
    "one_fetch",
    "overload",
    "growth",
]


def main() -> None:
    """Run them; the last two take some ten minutes."""
    for name in NAMES:
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=True)


if __name__ == "__main__":
    main()
