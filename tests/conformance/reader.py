"""A second reader, written by nothing but docs/format: objects by storage key in, a folder out.

python -m tests.conformance.reader FOLDER TITLE CHANNEL OUT
"""

import functools
import io
import json
import re
import struct
import sys
from collections import namedtuple
from collections.abc import Iterator
from hashlib import md5
from itertools import groupby
from pathlib import Path
from typing import Any
from unicodedata import is_normalized, normalize

import zstandard
from blake3 import blake3

MIB = 1 << 20
FILE, EXECUTABLE, DIRECTORY, LINK = range(4)
GEAR = [int(md5(bytes([b] * 64)).hexdigest()[:16], 16) for b in range(256)]
DEVICE = r"(con|prn|aux|nul|conin[$]|conout[$]|(com|lpt)[0-9¹²³]) *([.].*)?"
REFUSED = re.compile(rf'(?is)|.*[. ]|.*[\\:<>"|?*\0-\x1f\x7f-\x9f].*|{DEVICE}')

Entry = namedtuple("Entry", "path kind size target content")
Place = tuple[int, bytes, int, int]  # in a bundle: offset, half a chunk id, size, stored size


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def segments(files: list[bytes]) -> Iterator[bytes]:
    """chunks.md, "From files to streams"."""
    for small, run in groupby(files, lambda content: len(content) < 65_536):
        yield from [b"".join(run)] if small else run  # noqa: B031 - one of the two uses


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


def unpack(stored: bytes, size: int) -> bytes:
    """chunks.md, "Compression"."""
    declared = zstandard.get_frame_parameters(stored)
    frame = (declared.content_size, declared.window_size <= 8 * MIB)
    check(frame == (size, True), f"a frame does not declare its {size} bytes or a small window")
    return zstandard.ZstdDecompressor().decompress(stored, allow_extra_data=False)


@functools.cache
def bundle_of(folder: Path, name: str, bundle_size: int) -> dict[Place, bytes]:
    """bundle.md: the plain bytes of every chunk in a bundle."""
    raw = (folder / "b" / name).read_bytes()
    digests = [blake3(raw[i : i + MIB]).digest() for i in range(0, len(raw), MIB)]
    slices = b"".join([len(raw).to_bytes(8, "little"), *digests])
    check((folder / "s" / name).read_bytes() == slices, f"{name}: the slice list differs")
    check((blake3(slices).hexdigest(), len(raw)) == (name, bundle_size), f"{name}: another id")
    count, version, magic = struct.unpack("<2I8s", raw[-16:])
    check((version, magic) == (1, b"PHBUNDLE"), f"{name}: not a bundle of version 1")
    chunks, at = dict[Place, bytes](), 0
    for chunk_id, size, stored_size in struct.iter_unpack("<32s2I", raw[-16 - 40 * count : -16]):
        plain = raw[at : at + stored_size]
        plain = plain if stored_size == size else unpack(plain, size)
        check(blake3(plain).digest() == chunk_id, f"{name}: chunk {chunk_id.hex()} is damaged")
        chunks[at, chunk_id[:16], size, stored_size] = plain
        at += stored_size
    check(at + 40 * count + 16 == len(raw), f"{name}: the sizes do not add up")
    return chunks


def page_of(stored: bytes) -> tuple[int, list[Entry], list[tuple[str, int, Place]]]:
    """manifest.md, "Page": its offset, its entries, and where each chunk that occurs lies."""
    magic, version, offset, e, c, r, b, t, zero = struct.unpack("<4sIQ6I", stored[:40])
    check((magic, version, zero) == (b"PHPG", 1, 0), "not a page of version 1")
    plain_size = 9 * e + 32 * c + 4 * r + 36 * b + t
    check(0 < plain_size <= 64 * MIB and len(stored) <= 32 * MIB, "a page's size is refused")
    plain = io.BytesIO(unpack(stored[40:], plain_size))

    def rows(count: int, width: int) -> list[bytes]:
        return [plain.read(width) for _ in range(count)]

    def planes(count: int, width: int) -> list[int]:
        return [int.from_bytes(row, "little") for row in zip(*rows(width, count), strict=True)]

    kinds, sizes = planes(e, 1), planes(e, 8)
    table = list(zip(rows(c, 16), *(planes(c, 4) for _ in range(4)), strict=True))
    distances, bundle_ids = planes(r, 4), [row.hex() for row in rows(b, 32)]
    bundles = list(zip(bundle_ids, planes(b, 4), strict=True))
    *texts, rest = plain.read().decode().split("\0")
    check(rest == "" and len(texts) == e + kinds.count(LINK), "the text is not the entries'")
    links = [texts.pop(e) if kind == LINK else "" for kind in kinds]
    entries = [Entry(*row, b"") for row in zip(texts, kinds, sizes, links, strict=True)]

    chunks, end, before = list[tuple[str, int, Place]](), 0, -1
    for half_id, size, stored_size, home, gap in table:
        start = (gap + (end if home == before else 0)) % 2**32
        end, before = start + stored_size, home
        chunks.append((*bundles[home], (start, half_id, size, stored_size)))
    occurring, seen = list[tuple[str, int, Place]](), 0
    for distance in distances:
        check(distance <= seen < c + min(distance, 1), "an occurrence has no row")
        occurring.append(chunks[seen - distance])
        seen += distance == 0
    check(seen == c and len({row[3] for row in table}) == b, "a chunk or a bundle is not used")
    return offset, entries, occurring


def checked(path: str) -> tuple[str, ...]:
    """manifest.md, "Entries", of one path: return its folded parts."""
    check(is_normalized("NFC", path) and len(path.encode()) <= 1024, path)
    check(all(len(p.encode()) <= 255 and not REFUSED.fullmatch(p) for p in path.split("/")), path)
    folded = tuple(normalize("NFKC", normalize("NFKC", p).casefold()) for p in path.split("/"))
    check(folded[0] != ".playhead", path)
    return folded


def check_entries(entries: list[Entry]) -> None:
    """manifest.md, "Entries", of all together."""
    kinds = {checked(entry.path): entry.kind for entry in entries}
    check(len(kinds) == len(entries), "two paths are alike")
    for at, (path, kind, _, target, _) in zip(kinds, entries, strict=True):
        check(not any(at[:i] in kinds for i in range(len(at))), f"{path!r} is in another entry")
        if kind == LINK:
            above, below = path.split("/")[:-1], target.split("/")
            while above and below[:1] == [".."]:
                above, below = above[:-1], below[1:]
            to = checked("/".join(above + below)) if above + below else ()
            check(all(kinds.get(to[: i + 1]) != LINK for i in range(len(to))), f"{path!r}: links")


def named(folder: Path, at: dict[str, Any]) -> bytes:
    raw: bytes = (folder / "m" / at["digest"]).read_bytes()
    check((blake3(raw).hexdigest(), len(raw)) == (at["digest"], at["size"]), f"{at}: damaged")
    return raw


def document(folder: Path, raw: bytes, keys: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw)
    may = {"deltas"} if "channel" in keys.split() else set()
    check(found.keys() - may == {"format", "title", *keys.split()}, f"other keys than {keys}")
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
            check(offset <= position < len(stream) or at is group["pages"][-1], entry.path)
            found.append((position, entry))
            position += entry.size
    sums = (len(stream), group["size"], group["entry_count"])
    check((position, position, len(found)) == sums, f"{group['name']} does not add up")
    return (entry._replace(content=stream[at : at + entry.size]) for at, entry in found)


def build(folder: Path, channel: str) -> list[Entry]:
    """Every entry of what a channel of the title in ``folder`` points to (urls.md)."""
    head = document(folder, (folder / "h" / channel).read_bytes(), "channel release")
    key = f"r/{head['release']['counter']:010}"
    release = document(folder, (folder / key).read_bytes(), "counter version created_at root")
    check((head["channel"], head["release"]) == (channel, release), "another channel's head")
    root = document(folder, named(folder, release["root"]), "groups")
    entries = [entry for group in root["groups"] for entry in shard(folder, group)]
    check_entries(entries)
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
    write(build(Path(sys.argv[1], "t", sys.argv[2]), sys.argv[3]), Path(sys.argv[4]))
