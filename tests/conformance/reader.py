"""Read a published build from its storage objects, by nothing but docs/format.

    python -m tests.conformance.reader FOLDER TITLE CHANNEL OUT

A second implementation that shares no code with the product: what it reads is what the pages of
the specification say. It keeps a build in memory, and cuts in plain Python; speed is no aim.
"""

import functools
import io
import json
import re
import struct
import sys
import unicodedata
from collections import namedtuple
from collections.abc import Iterator
from hashlib import md5
from itertools import groupby
from pathlib import Path
from typing import Any

import zstandard
from blake3 import blake3

MIB = 1 << 20
FILE, EXECUTABLE, DIRECTORY, LINK = range(4)
GEAR = [int(md5(bytes([b] * 64)).hexdigest()[:16], 16) for b in range(256)]

Entry = namedtuple("Entry", "path kind size target content")
Place = tuple[int, bytes, int, int]  # in a bundle: offset, half a chunk id, size, stored size


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def segments(files: list[bytes]) -> Iterator[bytes]:
    """chunks.md, "From files to streams"."""
    for small, run in groupby(files, lambda content: len(content) < 65_536):
        contents = list(run)
        yield from [b"".join(contents)] if small else contents


def cut(segment: bytes) -> Iterator[bytes]:
    """chunks.md, "Cutting"."""
    while segment:
        gear_hash, end = 0, min(len(segment), MIB)
        for i in range(65_536, end - end % 2):
            gear_hash = ((gear_hash << 1) + GEAR[segment[i]]) % 2**64
            if gear_hash & (0x0000D91707537000 if i < 262_144 else 0x0000D90703537000) == 0:
                end = i
                break
        yield segment[:end]
        segment = segment[end:]


def unpack(stored: bytes, size: int, window_max: int) -> bytes:
    """chunks.md, "Compression"."""
    declared = zstandard.get_frame_parameters(stored)
    check(declared.content_size == size, f"a frame does not declare its {size} bytes")
    check(declared.window_size <= window_max, "a frame needs too large a window")
    return zstandard.ZstdDecompressor().decompress(stored, allow_extra_data=False)


@functools.cache
def bundle_of(folder: Path, name: str, size: int) -> dict[Place, bytes]:
    """bundle.md: the plain bytes of every chunk in a bundle."""
    raw = (folder / "b" / name).read_bytes()
    digests = [blake3(raw[i : i + MIB]).digest() for i in range(0, len(raw), MIB)]
    slices = b"".join([len(raw).to_bytes(8, "little"), *digests])
    check((folder / "s" / name).read_bytes() == slices, f"{name}: the slice list differs")
    check((blake3(slices).hexdigest(), len(raw)) == (name, size), f"{name}: another id or size")
    count, version, magic = struct.unpack("<2I8s", raw[-16:])
    check((version, magic) == (1, b"PHBUNDLE"), f"{name}: not a bundle of version 1")
    chunks, at = dict[Place, bytes](), 0
    for record in struct.iter_unpack("<32s2I", raw[len(raw) - 16 - 40 * count : -16]):
        chunk_id, plain_size, stored_size = record
        plain = raw[at : at + stored_size]
        plain = plain if stored_size == plain_size else unpack(plain, plain_size, 8 * MIB)
        check(blake3(plain).digest() == chunk_id, f"{name}: chunk {chunk_id.hex()} is damaged")
        chunks[at, chunk_id[:16], plain_size, stored_size] = plain
        at += stored_size
    check(at + 40 * count + 16 == len(raw), f"{name}: the sizes do not add up")
    return chunks


def page_of(stored: bytes) -> tuple[int, list[Entry], list[tuple[str, int, Place]]]:
    """manifest.md, "Page": its offset, its entries, and where each chunk that occurs lies."""
    magic, version, offset, e, c, r, b, t, zero = struct.unpack("<4sIQ6I", stored[:40])
    check((magic, version, zero) == (b"PHPG", 1, 0), "not a page of version 1")
    plain_size = 9 * e + 32 * c + 4 * r + 36 * b + t
    check(max(plain_size, 2 * len(stored)) <= 64 * MIB, "a page is too large")
    plain = io.BytesIO(unpack(stored[40:], plain_size, 64 * MIB))

    def rows(count: int, width: int) -> list[bytes]:
        return [plain.read(width) for _ in range(count)]

    def planes(count: int, width: int) -> list[int]:
        return [int.from_bytes(row, "little") for row in zip(*rows(width, count), strict=True)]

    kinds, sizes = planes(e, 1), planes(e, 8)
    table = list(zip(rows(c, 16), *(planes(c, 4) for _ in range(4)), strict=True))
    distances, bundles = planes(r, 4), list(zip(rows(b, 32), planes(b, 4), strict=True))
    *texts, rest = plain.read().decode().split("\0")
    check(rest == "" and len(texts) == e + kinds.count(LINK), "the text is not the entries'")
    links = [texts.pop(e) if kind == LINK else "" for kind in kinds]
    entries = [Entry(*row, b"") for row in zip(texts, kinds, sizes, links, strict=True)]

    chunks, end, before = list[tuple[str, int, Place]](), 0, -1
    for half_id, size, stored_size, home, gap in table:
        start = (gap + (end if home == before else 0)) % 2**32
        end, before = start + stored_size, home
        place = (start, half_id, size, stored_size)
        chunks.append((bundles[home][0].hex(), bundles[home][1], place))
    occurring, seen = list[tuple[str, int, Place]](), 0
    for distance in distances:
        check(distance <= seen < c + min(distance, 1), "an occurrence has no row")
        occurring.append(chunks[seen - distance])
        seen += distance == 0
    check(seen == c and len({row[3] for row in table}) == b, "a chunk or a bundle is not used")
    return offset, entries, occurring


def check_paths(entries: list[Entry]) -> None:
    """manifest.md, "Entries"."""
    folded = {unicodedata.normalize("NFKC", entry.path).casefold() for entry in entries}
    check(len(folded) == len(entries), "two paths are alike")
    links = {entry.path for entry in entries if entry.kind == LINK}
    device = r"(con|prn|aux|nul|(com|lpt)[0-9¹²³]) *(\..*)?"
    refused = re.compile(rf'(?is)|.*[. ]|.*[\\:<>"|?*\0-\x1f\x7f-\x9f].*|{device}')
    for path, kind, _, target, _ in entries:
        check(unicodedata.is_normalized("NFC", path) and len(path.encode()) <= 1024, path)
        *at, _ = parts = path.split("/")
        check(parts[0] != ".playhead", path)
        check(all(len(p.encode()) <= 255 and not refused.fullmatch(p) for p in parts), path)
        for part in target.split("/") if kind == LINK else ():
            check(part != ".." or at != [], f"{path!r} points out of the build")
            at = at[:-1] if part == ".." else [*at, part]
            check("/".join(at) not in links, f"{path!r} points through a link")


def named(folder: Path, at: dict[str, Any]) -> bytes:
    raw: bytes = (folder / "m" / at["digest"]).read_bytes()
    check((blake3(raw).hexdigest(), len(raw)) == (at["digest"], at["size"]), f"{at}: damaged")
    return raw


def document(folder: Path, raw: bytes, keys: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw)
    check(found.keys() == {"format", "title", *keys.split()}, f"other keys than {keys}")
    check((found["format"], found["title"]) == (1, folder.name), "another format or title")
    return found


def shard(folder: Path, group: dict[str, Any]) -> Iterator[Entry]:
    """manifest.md, "Rules over a shard": a group's entries with their content."""
    stream, found, position = b"", list[tuple[int, Entry]](), 0
    for at in group["pages"]:
        offset, entries, chunks = page_of(named(folder, at))
        said = (len(stream), at["entry_count"], at["chunk_count"])
        check((offset, len(entries), len(chunks)) == said, f"{at}: another page")
        stream += b"".join(bundle_of(folder, *bundle)[place] for *bundle, place in chunks)
        for entry in entries:
            belongs = offset <= position < len(stream) or at is group["pages"][-1]
            check(belongs, f"{entry.path!r} is on another page")
            found.append((position, entry))
            position += entry.size
    sums = position == len(stream) == group["size"] and len(found) == group["entry_count"]
    check(sums, f"{group['name']}: the sizes or entries do not add up")
    return (entry._replace(content=stream[at : at + entry.size]) for at, entry in found)


def build(folder: Path, title: str, channel: str) -> list[Entry]:
    """Every entry of what the channel points to; urls.md says where it lies."""
    folder = folder / "t" / title
    head = document(folder, (folder / "h" / channel).read_bytes(), "channel release")
    raw = (folder / "r" / f"{head['release']['counter']:010}").read_bytes()
    release = document(folder, raw, "counter version created_at root")
    check((head["channel"], head["release"]) == (channel, release), "another channel's head")
    root = document(folder, named(folder, release["root"]), "groups")
    entries = [entry for group in root["groups"] for entry in shard(folder, group)]
    check_paths(entries)
    return entries


def write(entries: list[Entry], out: Path) -> None:
    for path, kind, _, target, content in sorted(entries, key=lambda entry: entry.kind):
        place = out / path
        (place if kind == DIRECTORY else place.parent).mkdir(parents=True, exist_ok=True)
        if kind == LINK:  # they sort last, so nothing is written through one
            place.symlink_to(target)
        elif kind != DIRECTORY:
            place.write_bytes(content)
            place.chmod(0o755 if kind == EXECUTABLE else 0o644)


if __name__ == "__main__":
    write(build(Path(sys.argv[1]), sys.argv[2], sys.argv[3]), Path(sys.argv[4]))
