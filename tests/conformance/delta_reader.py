"""A second reader of deltas, written by nothing but docs/format/deltas.md.

It reads an index and its bundles from a title's folder, and makes chunks of chunks at hand.
"""

import io
import lzma
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hdiffpatch
import zstandard
from blake3 import blake3

from tests.conformance.reader import MIB, check, named, unpack
from tests.conformance.relinked_reader import from_relinked

PACKED: list[dict[str, Any]] = [
    {"id": lzma.FILTER_LZMA2, "dict_size": 8 * MIB, "lc": 3, "lp": 0, "pb": 0}
]


class Delta(NamedTuple):
    targets: list[tuple[bytes, int]]
    bases: list[tuple[bytes, int]]
    method: int
    check: bytes
    bundle: tuple[str, int]
    offset: int
    size: int


def index_of(stored: bytes) -> list[Delta]:
    """deltas.md, "Index"."""
    magic, version, d, c, u, b, zero = struct.unpack("<4s6I", stored[:28])
    check((magic, version, zero) == (b"PHDX", 1, 0), "not an index of version 1")
    check(0 < b <= d <= min(c, 1_000_000) and c <= u <= 4_000_000, "impossible counts")
    check(20 * c + 37 * d + 4 * u + 36 * b <= 64 * MIB, "too large")
    plain = io.BytesIO(unpack(stored[28:], 20 * c + 37 * d + 4 * u + 36 * b))

    def rows(count: int, width: int) -> list[bytes]:
        return [plain.read(width) for _ in range(count)]

    def planes(count: int) -> list[int]:
        return [int.from_bytes(row, "little") for row in zip(*rows(4, count), strict=True)]

    chunks = list(zip(rows(c, 16), planes(c), strict=True))
    methods, target_counts, base_counts = list(plain.read(d)), planes(d), planes(d)
    columns = zip(methods, target_counts, base_counts, planes(d), planes(d), planes(d), strict=True)
    checks, distances = rows(d, 16), planes(u)
    bundles = list(zip([row.hex() for row in rows(b, 32)], planes(b), strict=True))
    used, seen = list[int](), 0
    for distance in distances:
        check(distance <= seen, "a use of no row")
        used.append(seen - distance)
        seen += distance == 0
    check(seen == c and sum(target_counts) + sum(base_counts) == u, "uses do not add up")
    deltas, at, end, before = list[Delta](), 0, 0, -1
    for (method, targets, bases, size, home, gap), half in zip(columns, checks, strict=True):
        start = (gap + (end if home == before else 0)) % 2**32
        end, before = start + size, home
        check(targets > 0 and 0 < size <= 8 * MIB and end <= bundles[home][1], "a delta's place")
        of = [chunks[row] for row in used[at : at + targets + bases]]
        at += targets + bases
        deltas.append(Delta(of[:targets], of[targets:], method, half, bundles[home], start, size))
    made = [chunk for delta in deltas for chunk, _ in delta.targets]
    needed = {chunk for delta in deltas for chunk, _ in delta.bases}
    check(len({*made}) == len(made) and not needed & {*made}, "made twice, or made and needed")
    check({delta.bundle for delta in deltas} == {*bundles}, "a bundle is not used")
    return deltas


def bundle_of(folder: Path, name: str, size: int) -> bytes:
    """deltas.md, "Bundle of deltas"."""
    raw = (folder / "b" / name).read_bytes()
    digests = [blake3(raw[i : i + MIB]).digest() for i in range(0, len(raw), MIB)]
    slices = b"".join([len(raw).to_bytes(8, "little"), *digests])
    check((folder / "s" / name).read_bytes() == slices, f"{name}: the slice list differs")
    check((blake3(slices).hexdigest(), len(raw)) == (name, size), f"{name}: another id")
    check_records(raw)
    return raw


def check_records(raw: bytes) -> None:
    count, version, magic = struct.unpack("<2I8s", raw[-16:])
    check((version, magic, count > 0) == (1, b"PHDELTAS", True), "no bundle of deltas")
    at = 0
    for digest, size in struct.iter_unpack("<32sI", raw[-16 - 36 * count : -16]):
        check(blake3(raw[at : at + size]).digest() == digest, f"the delta at {at} is damaged")
        at += size
    check(at + 36 * count + 16 == len(raw), "the sizes do not add up")


def made_of(delta: Delta, raw: bytes, have: dict[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks that a delta in bundle ``raw`` makes of those in ``have``."""
    payload = raw[delta.offset : delta.offset + delta.size]
    check(blake3(payload).digest()[:16] == delta.check, "another payload")
    base = b"".join(have[chunk] for chunk, _ in delta.bases)
    target = apply(delta.method, payload, base, sum(size for _, size in delta.targets))
    for chunk, size in delta.targets:
        plain, target = target[:size], target[size:]
        check(blake3(plain).digest()[:16] == chunk, f"made no chunk {chunk.hex()}")
        yield chunk, plain


def apply(method: int, payload: bytes, base: bytes, size: int) -> bytes:
    """deltas.md, "Delta"."""
    methods = {0: from_zstd, 1: from_hdiff, 2: from_bsdiff, 3: from_lzma, 5: relinked}
    made = methods[method](payload, base, size)
    check(len(made) == size, "another size")
    return made


def from_zstd(payload: bytes, base: bytes, size: int) -> bytes:
    declared = zstandard.get_frame_parameters(payload)
    check((declared.content_size, declared.has_checksum) == (size, False), "another frame")
    raw = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    with_base = zstandard.ZstdDecompressor(raw if len(base) >= 8 else None, 32 * MIB)
    return with_base.decompress(payload, allow_extra_data=False)


def unpacked(packed: bytes) -> bytes:
    return lzma.decompress(packed, lzma.FORMAT_RAW, filters=PACKED)


def framed(payload: bytes, size: int) -> bytes:
    plain = unpacked(payload[4:])
    said = int.from_bytes(payload[:4], "little")
    check(len(plain) == said <= 2 * size + 4096, "another plain size")
    return plain


def from_hdiff(payload: bytes, base: bytes, size: int) -> bytes:
    plain = framed(payload, size)
    check(plain[:9] == b"HDIFF13&\0", "no plain HDIFF13")
    numbers, at = list[int](), 9
    for _ in range(11):
        value = plain[at] & 127
        while plain[at] & 128:
            at += 1
            value = value << 7 | plain[at] & 127
        numbers, at = [*numbers, value], at + 1
    check(numbers[:2] == [size, len(base)], "for another base or target")
    check(not any(numbers[4::2]) and at + sum(numbers[3::2]) == len(plain), "other parts")
    return hdiffpatch.apply(base, plain)


def relinked(payload: bytes, base: bytes, size: int) -> bytes:
    return from_relinked(framed(payload, size), base, size)


def from_bsdiff(payload: bytes, base: bytes, size: int) -> bytes:
    plain = framed(payload, size)
    sizes = struct.unpack("<3I", plain[:12])
    check(12 + sum(sizes) == len(plain), "parts do not add up")
    parts = io.BytesIO(plain[12:])
    control, difference, extra = (io.BytesIO(parts.read(part)) for part in sizes)
    made, at = b"", 0
    for step in struct.iter_unpack("<3Q", control.read()):
        add, copy, skip = (-(n % 2**63) if n >> 63 else n for n in step)
        check(add >= 0 <= copy and 0 <= at <= at + add <= len(base), "a step out of the base")
        added = zip(base[at : at + add], difference.read(add), strict=True)
        made += bytes((old + by) % 256 for old, by in added) + extra.read(copy)
        at += add + skip
    check(not difference.read() + extra.read(), "not all is used")
    return made


def from_lzma(payload: bytes, base: bytes, size: int) -> bytes:
    check(base == b"", "a base")
    return unpacked(payload)


def read_all(folder: Path, ref: dict[str, Any], have: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Make every chunk of the delta set whose index a head names by ``ref``."""
    made = dict[bytes, bytes]()
    for delta in index_of(named(folder, ref)):
        made |= made_of(delta, bundle_of(folder, *delta.bundle), have)
    return made
