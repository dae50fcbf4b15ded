"""Peers' figures, kept: they take hours, and change only with the command that made them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.peers import Bench, Figure, Peer

FILE = "peers.json"
Figures = dict[str, Figure]


def known(folder: Path) -> Figures:
    """Return the figures kept in ``folder``, by pair, peer and command."""
    file = folder / FILE
    return msgspec.json.decode(file.read_bytes(), type=Figures) if file.exists() else {}


def key_of(pair: str, peer: Peer) -> str:
    """Return the name a figure is kept under."""
    return f"{pair}|{peer.name}|{peer.command}"


def measure(
    folder: Path, pair: str, trees: tuple[Path, Path], peers: list[Peer], say: Callable[[str], None]
) -> Figures:
    """Return what ``peers`` make of a pair; measured now if it was not, and kept at once.

    What was skipped is tried again: a tool may be installed by now, or memory free.
    """
    found = known(folder)
    missing = [p for p in peers if found.get(key_of(pair, p), Figure()).size is None]
    if missing:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".peers-") as scratch:
            bench = Bench(trees[0].resolve(), trees[1].resolve(), Path(scratch))
            for peer in missing:
                say(f"{pair}: {peer.name}")
                figure = peer.figure(bench)
                say(f"{pair}: {peer.name}: {figure}")
                found = keep(folder, key_of(pair, peer), figure)
    return {peer.name: found[key_of(pair, peer)] for peer in peers}


def keep(folder: Path, key: str, figure: Figure) -> Figures:
    """Add one figure to what is kept."""
    found = {**known(folder), key: figure}
    part = folder / f"{FILE}.part"
    part.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    part.rename(folder / FILE)
    return found
