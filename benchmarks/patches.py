"""What an update downloads, beside what others make of the same two builds.

Ours is the whole product: published, served, installed, updated, compared byte for byte, and every
byte received counts. Peers are their patch alone, on a disk. Their figures, and ours, are kept in
FOLDER; ``--pair`` measures ours again for one pair, and the others' stand as they were.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.corpora import CHAINS, PAIRS, Pair, build_of
from benchmarks.figures import Figures, key_of, known, measure
from benchmarks.peers import PEERS, Figure
from benchmarks.table import parser, show
from benchmarks.updates import (
    ChainUpdate,
    PairUpdate,
    Update,
    kept,
    update_chain,
    update_pair,
)

COMMAND = "python -m benchmarks.patches"
MB = 1_000_000
OURS = "**playhead update**"
PLAIN = "our plain chunks"
"""Not a peer: what we were without deltas."""

Measured = dict[str, tuple[PairUpdate, Figures]]


def main() -> None:
    """Measure what is missing, and show four tables."""
    options = parser(__doc__)
    options.add_argument("folder", nargs="?", type=Path, default=Path(".corpora"))
    options.add_argument("--pair", metavar="NAME", help="such as numpy; measure ours for it alone")
    options.add_argument(
        "--no-peers", action="store_true", help="only peers' figures that are kept"
    )
    options.add_argument("--kept", action="store_true", help="measure nothing; show what is kept")
    chosen = options.parse_args()
    folder: Path = chosen.folder
    folder.mkdir(parents=True, exist_ok=True)
    os.nice(10)
    pairs: Measured = {}
    for pair in PAIRS:
        is_wanted = not chosen.kept and chosen.pair in (None, pair.name, pair.corpus)
        peers = _peers(folder, pair, is_wanted=is_wanted and not chosen.no_peers)
        ours = kept(
            folder / "updates.json",
            PairUpdate,
            pair.name,
            partial(_pair, folder, pair) if is_wanted else None,
        )
        if ours is not None:
            pairs[pair.name] = ours, peers
    chains = {}
    for corpus, versions in CHAINS:
        is_wanted = not chosen.kept and chosen.pair in (None, f"{corpus}-chain")
        chain = kept(
            folder / "chains.json",
            ChainUpdate,
            corpus,
            partial(_chain, folder, corpus, versions) if is_wanted else None,
        )
        if chain is not None:
            chains[" -> ".join((f"{corpus} {versions[0]}", *versions[1:]))] = chain
    _show_all(pairs, chains, save=chosen.save)


def _pair(folder: Path, pair: Pair, scratch: Path) -> PairUpdate:
    old, new = (build_of(folder, pair.corpus, version) for version in (pair.old, pair.new))
    return update_pair(scratch, old, new, print)


def _chain(folder: Path, corpus: str, versions: Sequence[str], scratch: Path) -> ChainUpdate:
    return update_chain(scratch, [build_of(folder, corpus, each) for each in versions], print)


def _peers(folder: Path, pair: Pair, *, is_wanted: bool) -> Figures:
    if is_wanted:
        trees = (
            build_of(folder, pair.corpus, pair.old),
            build_of(folder, pair.corpus, pair.new),
        )
        return measure(folder, pair.name, trees, PEERS, print)
    found = known(folder)
    nothing = Figure(note="not measured")
    return {peer.name: found.get(key_of(pair.name, peer), nothing) for peer in PEERS}


def _show_all(pairs: Measured, chains: dict[str, ChainUpdate], *, save: bool) -> None:
    command = f"{COMMAND} [FOLDER]"
    show("patches", command, _downloads(pairs), save=save, notes=_download_notes(pairs))
    show("patch_making", command, _makings(pairs), save=save, notes=MAKING_NOTES)
    show("patch_applying", command, _applyings(pairs), save=save, notes=APPLYING_NOTES)
    if chains:
        show("patch_chains", command, _chains(chains), save=save, notes=CHAIN_NOTES)


def _downloads(pairs: Measured) -> list[list[str]]:
    rows = [["", *pairs]]
    rows.append([OURS, *(f"**{_mb(ours.update.received_bytes)}**" for ours, _ in pairs.values())])
    for peer in PEERS:
        cells = []
        for _, peers in pairs.values():
            size = peers[peer.name].size
            cells.append("-" if size is None else _mb(size))
        rows.append([peer.name, *cells])
    rows.append(["verdict", *(_verdict(ours, peers) for ours, peers in pairs.values())])
    parts: list[tuple[str, Callable[[Update], str]]] = [
        ("our requests", lambda update: f"{update.requests:,}"),
        ("our deltas", lambda update: f"{update.deltas:,}"),
        ("our plan said", lambda update: _mb(update.plan_bytes)),
        ("besides: manifests and index", lambda u: _mb(u.received_bytes - u.plan_bytes)),
        ("written", lambda update: _mb(update.written_bytes)),
    ]
    for name, cell in parts:
        rows.append([name, *(cell(ours.update) for ours, _ in pairs.values())])
    return rows


def _verdict(ours: PairUpdate, peers: Figures) -> str:
    """Say how we did beside the best peer that was measured."""
    sizes = {
        name: figure.size
        for name, figure in peers.items()
        if figure.size is not None and name != PLAIN
    }
    if not sizes:
        return "no peer measured"
    best = min(sizes, key=lambda name: sizes[name])
    change = ours.update.received_bytes / sizes[best] - 1
    verb = "WE LOSE" if change > 0 else "we win"
    unknown = sum(figure.size is None for figure in peers.values())
    caveat = f" ({unknown} peers without a figure)" if unknown else ""
    return f"{verb}: {change:+.1%} to {best}{caveat}"


def _download_notes(pairs: Measured) -> list[str]:
    notes = [
        "verdict: our bytes against those of the best peer on that pair, whatever it costs to make",
        "ours counts the body of every request: head, what vouches for it (3.0 kB), root, pages,"
        " delta index, deltas, chunks;"
        " the peers' files are counted without what a client needs to find and check them",
        "peers get both trees as tar files, sorted by path, without times and owners; per file:"
        " changed files against the old ones of that path, new files as one tar by zstd -19",
    ]
    notes += [f"{peer.name}: `{peer.command}`" for peer in PEERS]
    for pair, (_, peers) in pairs.items():
        missing = [f"{name}: {each.note}" for name, each in peers.items() if each.size is None]
        if missing:
            notes.append(f"no figure on {pair}: {'; '.join(missing)}")
    return notes


def _makings(pairs: Measured) -> list[list[str]]:
    rows = [["pair", "how", "patch", "CPU to make", "peak memory"]]
    for pair, (ours, peers) in pairs.items():
        making = ours.making
        cost = [f"{making.cpu_s:,.1f} s", f"{making.peak_rss_bytes / MB:,.0f} MB"]
        rows.append([pair, OURS, _mb(making.size), *cost])
        for name, figure in peers.items():
            if figure.size is not None:
                peak, cpu_s = figure.peak_rss_bytes or 0, figure.make_cpu_s or 0.0
                rows.append(["", name, _mb(figure.size), f"{cpu_s:,.1f} s", f"{peak / MB:,.0f} MB"])
    return rows


MAKING_NOTES = [
    "ours: the deltas alone, and the CPU of encoding them; the peak is that of the whole push",
    "hdiffz packs twice, to take the smaller; casync and the chunk stores read both builds,"
    " as if the old one had left no index",
]


def _applyings(pairs: Measured) -> list[list[str]]:
    rows = [["pair", "patched", "CPU of it", "MB/s a core", "memory over idle", "of it for deltas",
             "seconds in all", "hdiffz, whole: CPU", "zstd --patch-from: CPU"]]  # fmt: skip
    for pair, (ours, peers) in pairs.items():
        update = ours.update
        cpu_s = max(update.cpu_s - update.idle_cpu_s, 0.01)
        memory = update.peak_rss_bytes - update.idle_peak_rss_bytes
        rows.append(
            [
                pair,
                _mb(update.patched_bytes),
                f"{cpu_s:.2f} s",
                f"{update.patched_bytes / cpu_s / MB:,.0f}",
                f"{memory / MB:,.0f} MB",
                f"{max(update.peak_rss_bytes - ours.plain_peak_rss_bytes, 0) / MB:,.0f} MB",
                f"{update.seconds:.2f} s",
                *(_seconds(peers[name]) for name in ("hdiffz, whole", "zstd --patch-from")),
            ]
        )
    return rows


APPLYING_NOTES = [
    "CPU and memory of the console's process, less those of an update that finds nothing to do;"
    " in them: download, reading the base, checking every chunk, writing, syncing",
    "of it for deltas: beyond what the same update takes without them",
    "peers only apply a patch in one go and check nothing; they write all of the new tar, which is"
    " the whole build, not only what changed",
]


def _seconds(figure: Figure) -> str:
    return "-" if figure.apply_cpu_s is None else f"{figure.apply_cpu_s:.2f} s"


def _chains(chains: dict[str, ChainUpdate]) -> list[list[str]]:
    rows = [["chain", "each step", "straight", "received", "beside made for it", "deltas for it",
             "CPU to make"]]  # fmt: skip
    for name, chain in chains.items():
        steps = ", ".join(_mb(step.received_bytes) for step in chain.steps)
        ways = (
            ("**by default**", chain.by_default, chain.by_default_making),
            ("by the steps' deltas alone", chain.chained, None),
            ("by deltas made for it from scratch", chain.dedicated, chain.dedicated_making),
        )
        for number, (way, update, making) in enumerate(ways):
            overhead = update.received_bytes / chain.dedicated.received_bytes - 1
            cost = ["-", "-"] if making is None else [_mb(making.size), f"{making.cpu_s:,.1f} s"]
            begun = ["", ""] if number else [name, steps]
            rows.append([*begun, way, _mb(update.received_bytes), f"{overhead:+.1%}", *cost])
    return rows


CHAIN_NOTES = [
    "a console that skipped a release; received: everything, of whatever kind",
    "deltas for it: those that lead from there; what is borrowed of other sets takes no CPU",
]


def _mb(size: int) -> str:
    return f"{size / MB:,.2f} MB"


if __name__ == "__main__":
    main()
