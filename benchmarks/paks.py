"""Archives as games ship them: a few large paks, each with an index in front, in two versions.

A pak begins with its index, so an edit anywhere moves everything behind it: first by what the index
grew, then by what the member grew. Peers that compare at equal offsets find nothing in them.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PAK_COUNT = 4
MAGIC = b"PAK\x01"
ALIGNMENT = 16
"""Of each member's start, as engines like it; padding is zeros."""
EDITED_SHARE = 0.02
ADDED_SHARE = 0.001
ZLIB_LEVEL = 6
_COUNT = struct.Struct("<I")
_ROW = struct.Struct("<HQQQ")
"""Length of the name, then the member's start, stored size and size; the name follows."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a pak."""

    name: str
    content: bytes


def write_both(build: Path, old: Path, new: Path, *, is_packed: bool, seed: int = 7) -> None:
    """Write the files of ``build`` as paks to ``old``, and an edited version of them to ``new``."""
    members = [
        Member(path.relative_to(build).as_posix(), path.read_bytes())
        for path in sorted(build.rglob("*"))
        if path.is_file() and not path.is_symlink()
    ]
    shelves = _shelves(members)
    write_paks(shelves, old, is_packed=is_packed)
    rng = random.Random(seed)
    write_paks([list(edited(shelf, rng)) for shelf in shelves], new, is_packed=is_packed)


def write_paks(shelves: Sequence[Sequence[Member]], into: Path, *, is_packed: bool) -> None:
    """Write one pak for each of ``shelves``; ``is_packed`` members are compressed with zlib."""
    into.mkdir(parents=True)
    for number, members in enumerate(shelves):
        (into / f"data{number}.pak").write_bytes(pak_of(members, is_packed=is_packed))


def pak_of(members: Sequence[Member], *, is_packed: bool) -> bytes:
    """Return a pak: magic, count, index, members."""
    bodies = [zlib.compress(m.content, ZLIB_LEVEL) if is_packed else m.content for m in members]
    names = [member.name.encode() for member in members]
    at = len(MAGIC) + _COUNT.size + sum(_ROW.size + len(name) for name in names)
    index, body = [MAGIC, _COUNT.pack(len(members))], []
    for member, name, stored in zip(members, names, bodies, strict=True):
        padding = -at % ALIGNMENT
        at += padding
        index += [_ROW.pack(len(name), at, len(stored), len(member.content)), name]
        body += [bytes(padding), stored]
        at += len(stored)
    return b"".join(index + body)


def edited(members: Sequence[Member], rng: random.Random) -> Iterator[Member]:
    """Yield ``members`` with about ``EDITED_SHARE`` of them edited or dropped, and a few added."""
    for member in members:
        if rng.random() < EDITED_SHARE:
            content = _edit(member.content, rng)
            if content is not None:
                yield Member(member.name, content)
        else:
            yield member
        if rng.random() < ADDED_SHARE:
            yield Member(f"{member.name}.new", rng.randbytes(rng.randrange(1, 1 << 16)))


def _edit(content: bytes, rng: random.Random) -> bytes | None:
    """Overwrite, insert, cut out, or (None) drop; what is touched is up to an eighth."""
    start = rng.randrange(len(content) + 1)
    size = rng.randrange(1, 2 + len(content) // 8)
    kind = rng.choice(["overwrite", "insert", "cut", "drop"])
    if kind == "drop":
        return None
    fresh = b"" if kind == "cut" else rng.randbytes(size)
    return content[:start] + fresh + content[start if kind == "insert" else start + size :]


def _shelves(members: Sequence[Member]) -> list[list[Member]]:
    """Deal ``members`` out in order, about as many bytes to each pak."""
    total = sum(len(member.content) for member in members)
    shelves: list[list[Member]] = [[] for _ in range(PAK_COUNT)]
    done = 0
    for member in members:
        shelves[min(PAK_COUNT - 1, done * PAK_COUNT // max(1, total))].append(member)
        done += len(member.content)
    return shelves
