"""How many requests and bytes an install and an update cost, under other rules of coalescing.

Compares gaps that are fetched along with the rule "take a bundle whole once most of it is wanted".
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.packaging import run_push
from benchmarks.table import parser, show
from chunks.plan import GAP_MAX, REQUEST_SIZE_MAX, Wanted, range_requests
from kit.object_storage.local import LocalStorage
from manifests.changes import missing_rows
from manifests.model import Build
from manifests.names import TitleId
from packager.explain import wanted_of
from packager.title_store import TitleStore

GAPS = [0, 32 << 10, GAP_MAX, 512 << 10]
WHOLE_SHARE = 0.6


def main() -> None:
    """Publish both builds to a folder and plan both downloads."""
    options = parser(__doc__)
    options.add_argument("old", type=Path, help="a build")
    options.add_argument("new", type=Path, help="the build after it")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        ids = [run_push(build, out, version=version).build_id
               for version, build in (("1", chosen.old), ("2", chosen.new))]  # fmt: skip
        old, new = asyncio.run(_builds(out, ids))
    rows = [["", "rule", "requests", "bytes", "of them unwanted"]]
    has = old.row_of
    for name, missing in (
        ("install", missing_rows(new, lambda _: False)),
        ("update", missing_rows(new, lambda chunk_id: chunk_id in has)),
    ):
        wanted = wanted_of(new, missing)
        rows += [[name, *row] for row in _rules(new, wanted)]
    show("requests", "python -m benchmarks.requests OLD NEW", rows, save=chosen.save)


async def _builds(out: Path, ids: Sequence[str]) -> list[Build]:
    storage = LocalStorage(out / "storage")
    try:
        store = TitleStore(storage, TitleId("bench"))
        roots = {release.root.digest: release.root for release in await store.releases()}
        return [await store.build(roots[build_id]) for build_id in ids]
    finally:
        await storage.close()


def _rules(build: Build, wanted: Sequence[Wanted]) -> list[list[str]]:
    needed = sum(chunk.end - chunk.start for chunk in wanted)
    rows = []
    for gap in GAPS:
        requests = list(range_requests(wanted, gap_max=gap))
        name = f"gaps up to {gap >> 10} KiB" + (" (ours)" if gap == GAP_MAX else "")
        rows.append(_row(name, len(requests), sum(request.size for request in requests), needed))
    count, size = _whole(build, wanted)
    rows.append(_row(f"whole bundles past {WHOLE_SHARE:.0%}", count, size, needed))
    return rows


def _whole(build: Build, wanted: Sequence[Wanted]) -> tuple[int, int]:
    shares: dict[int, int] = defaultdict(int)
    for chunk in wanted:
        shares[chunk.bundle_index] += chunk.end - chunk.start
    sizes = {index: build.chunks.bundles[index].size for index in shares}
    whole = {index for index, share in shares.items() if share > WHOLE_SHARE * sizes[index]}
    rest = list(range_requests([chunk for chunk in wanted if chunk.bundle_index not in whole]))
    count = len(rest) + sum(-(-sizes[index] // REQUEST_SIZE_MAX) for index in whole)
    return count, sum(request.size for request in rest) + sum(sizes[index] for index in whole)


def _row(rule: str, count: int, size: int, needed: int) -> list[str]:
    return [rule, str(count), f"{size / 1e6:.2f} MB", f"{(size - needed) / 1e3:,.1f} kB"]


if __name__ == "__main__":
    main()
