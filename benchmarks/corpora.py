"""The pairs of builds that updates are measured on: real releases, and paks made of one.

Releases come from the package index, pinned by digest, into ``FOLDER/NAME/VERSION``; what is there
is left alone. All of them take 4 GB.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.paks import write_both
from playhead import demo_builds, wheels
from playhead.wheels import Wheel

WHEELS = [
    Wheel("panda3d", "1.10.14", "d1bc0d926f90c8fa14a1587fa9dbe5f89a4eda8c9684fa183a8eaa35fc8e891a"),
    demo_builds.OLD,
    demo_builds.NEW,
    Wheel("numpy", "2.3.4", "a7b2f9a18b5ff9824a6af80de4f37f4ec3c2aab05ef08f51c77a093f5b89adda"),
    Wheel("numpy", "2.3.5", "8cba086a43d54ca804ce711b2a940b16e452807acebe7852ff327f1ecd49b0d4"),
    Wheel(
        "pyside6_essentials",
        "6.10.2",
        "660aea45bfa36f1e06f799b934c2a7df963bd31abc5083e8bb8a5bfaef45686b",
    ),
    Wheel(
        "pyside6_essentials",
        "6.10.3",
        "5fb32b48010f513335a2166ac3df279c5996fb96402fd91a4875fc717fe55de0",
    ),
    Wheel("bpy", "4.5.14", "1697c44362887e3b714f54035f1167131801249b8b46ff226b615be4ce9cabde"),
    Wheel("bpy", "4.5.15", "19203fb7825b005d2024b2e724d600fc82550a6deea71fbcc4447244df9ea737"),
    Wheel("bpy", "5.0.1", "79c6e421f53ea24a5961d86eefb8141798eee708682415eb4f5a952c2abdeb8b"),
]
PAKS = {"panda3d-pak": False, "panda3d-zlib-pak": True}
"""Whether members are compressed, by name; both are made of ``PAK_SOURCE``."""
PAK_SOURCE = ("panda3d", "1.10.16")


@dataclass(frozen=True, slots=True)
class Pair:
    """A build and the one that players update to."""

    corpus: str
    old: str
    new: str

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.corpus if self.corpus in PAKS else f"{self.corpus} {self.old} -> {self.new}"


PAIRS = [
    Pair("panda3d", "1.10.15", "1.10.16"),
    Pair("numpy", "2.3.4", "2.3.5"),
    Pair("pyside6_essentials", "6.10.2", "6.10.3"),
    Pair("panda3d-pak", "1", "2"),
    Pair("panda3d-zlib-pak", "1", "2"),
    Pair("bpy", "4.5.14", "4.5.15"),
    Pair("bpy", "4.5.15", "5.0.1"),
]
CHAINS = [
    ("panda3d", ("1.10.14", "1.10.15", "1.10.16")),
    ("bpy", ("4.5.14", "4.5.15", "5.0.1")),
]
"""Releases in order; a console that has the first skips the second."""


def build_of(folder: Path, corpus: str, version: str) -> Path:
    """Return the folder of a build below ``folder``; it is fetched or made if it is not there.

    Raises:
        Unavailable: The package index could not be reached, or gave other bytes.
    """
    build = folder / corpus / version
    if not build.exists():
        if corpus in PAKS:
            _make_paks(folder, corpus)
        else:
            [wheel] = [each for each in WHEELS if (each.name, each.version) == (corpus, version)]
            wheels.fetch(wheel, build)
    return build.resolve()


def _make_paks(folder: Path, corpus: str) -> None:
    source = build_of(folder, *PAK_SOURCE)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".paks-") as scratch:
        made = Path(scratch) / corpus
        write_both(source, made / "1", made / "2", is_packed=PAKS[corpus])
        made.rename(folder / corpus)
