"""Pages: every rule broken once and named; and no bytes whatever raise anything else."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks import codec
from chunks.chunk_id import digest_of
from kit.errors import FormatError, IntegrityError, InvalidInput
from manifests.documents import CHUNK_COUNT_MAX, ENTRY_COUNT_MAX, STREAM_SIZE_MAX, PageRef
from manifests.model import Entry, EntryKind
from manifests.page import FIRST_PAGE_AIM, PAGE_AIM, PLAIN_SIZE_MAX, Page, parse_page
from tests.builds import chunk_table, file, pages_of


def planes(width: int, numbers: Sequence[int]) -> bytes:
    rows = [number.to_bytes(width, "little") for number in numbers]
    return bytes(row[plane] for plane in range(width) for row in rows)


@dataclass(frozen=True)
class RawPage:
    """A page in the words of the specification, so that any rule can be broken.

    As it stands: two files and a link over two chunks in one bundle, the first occurring twice.
    """

    magic: bytes = b"PHPG"
    version: int = 1
    offset: int = 0
    reserved: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    """What the header says, where it differs from what there is."""
    kinds: Sequence[int] = (0, 1, 3)
    sizes: Sequence[int] = (150, 250, 0)
    ids: Sequence[bytes] = (b"a" * 16, b"b" * 16)
    chunk_sizes: Sequence[int] = (100, 200)
    stored_sizes: Sequence[int] = (100, 50)
    homes: Sequence[int] = (0, 0)
    gaps: Sequence[int] = (1000, 0)
    distances: Sequence[int] = (0, 0, 2)
    bundle_ids: Sequence[bytes] = (b"B" * 32,)
    bundle_sizes: Sequence[int] = (2000,)
    text: bytes = b"one\0two\0link\0target\0"

    def plain(self) -> bytes:
        return b"".join(
            (
                bytes(self.kinds),
                planes(8, self.sizes),
                *self.ids,
                planes(4, self.chunk_sizes),
                planes(4, self.stored_sizes),
                planes(4, self.homes),
                planes(4, self.gaps),
                planes(4, self.distances),
                *self.bundle_ids,
                planes(4, self.bundle_sizes),
                self.text,
            )
        )

    def header(self) -> bytes:
        counts = {
            "E": len(self.kinds),
            "C": len(self.ids),
            "R": len(self.distances),
            "B": len(self.bundle_ids),
            "T": len(self.text),
        } | self.counts
        return struct.pack(
            "<4sIQ6I", self.magic, self.version, self.offset, *counts.values(), self.reserved
        )

    def encode(self) -> bytes:
        return self.header() + codec.compress(self.plain())

    def parse(self, **ref: int) -> Page:
        return parse(
            self.encode(),
            **({"entry_count": len(self.kinds), "chunk_count": len(self.distances)} | ref),
        )


def parse(
    data: bytes, *, entry_count: int = 3, chunk_count: int = 3, size: int | None = None
) -> Page:
    ref = PageRef(
        digest=digest_of(data).hex(),
        size=len(data) if size is None else size,
        entry_count=entry_count,
        chunk_count=chunk_count,
    )
    return parse_page(data, ref)


GOOD = RawPage()


def test_the_good_page_is_read() -> None:
    page = GOOD.parse()
    assert page.stream_offset == 0
    assert page.entries == (
        Entry("one", EntryKind.FILE, 150),
        Entry("two", EntryKind.EXECUTABLE, 250),
        Entry("link", EntryKind.LINK, 0, "target"),
    )
    assert page.occurrences.tolist() == [0, 1, 0]
    assert page.chunks.offsets.tolist() == [1000, 1100]
    assert [(bundle.bundle_id, bundle.size) for bundle in page.chunks.bundles] == [
        (b"B" * 32, 2000)
    ]


BROKEN = {
    "magic": (replace(GOOD, magic=b"PHPH"), "is no page"),
    "version": (replace(GOOD, version=2), "format 2; this program reads 1: update"),
    "reserved": (replace(GOOD, reserved=1), "impossible counts"),
    "more chunks than occurrences": (replace(GOOD, distances=(0,)), "impossible counts"),
    "more bundles than chunks": (
        replace(GOOD, bundle_ids=(b"B" * 32,) * 3, bundle_sizes=(2000,) * 3),
        "impossible counts",
    ),
    "offset": (replace(GOOD, offset=STREAM_SIZE_MAX + 1), "at most"),
    "kind": (replace(GOOD, kinds=(0, 1, 4)), "unknown kind"),
    "kind 255": (replace(GOOD, kinds=(255, 1, 3)), "unknown kind"),
    "link with a size": (replace(GOOD, sizes=(150, 250, 1)), "'link', which is no file"),
    "folder with a size": (
        replace(GOOD, kinds=(2, 1, 3)),
        "'one', which is no file",
    ),
    "huge file": (replace(GOOD, sizes=(2**64 - 1, 250, 0)), "at most"),
    "huge files": (replace(GOOD, sizes=(2**63, 2**63, 0)), "at most"),
    "empty chunk": (replace(GOOD, chunk_sizes=(100, 0), stored_sizes=(100, 0)), "impossible size"),
    "large chunk": (replace(GOOD, chunk_sizes=(100, (1 << 20) + 1)), "impossible size"),
    "nothing stored": (replace(GOOD, stored_sizes=(100, 0)), "impossible size"),
    "more stored than there is": (replace(GOOD, stored_sizes=(101, 50)), "impossible size"),
    "bundle that is not there": (replace(GOOD, homes=(0, 1)), "use its bundles"),
    "bundle that is far away": (replace(GOOD, homes=(0, 2**32 - 1)), "use its bundles"),
    "bundle that is not used": (
        replace(GOOD, bundle_ids=(b"B" * 32, b"C" * 32), bundle_sizes=(2000, 2000)),
        "use its bundles",
    ),
    "no bundle": (replace(GOOD, bundle_ids=(), bundle_sizes=()), "use its bundles"),
    "bundle too large": (replace(GOOD, bundle_sizes=((32 << 20) + 1,)), "bundle of more than"),
    "chunk behind its bundle": (replace(GOOD, bundle_sizes=(1149,)), "out of its bundle"),
    "chunk far behind": (replace(GOOD, gaps=(1000, 2**31)), "out of its bundle"),
    "chunk before its bundle": (replace(GOOD, gaps=(2**32 - 1, 0)), "out of its bundle"),
    "occurrence before the first": (replace(GOOD, distances=(0, 2, 0)), "before the first chunk"),
    "first occurrence before": (replace(GOOD, distances=(1, 0, 0)), "before the first chunk"),
    "occurrence far before": (replace(GOOD, distances=(0, 0, 2**32 - 1)), "before the first"),
    "chunk that never occurs": (replace(GOOD, distances=(0, 1, 1)), "never occurs"),
    "occurrence of one more chunk": (replace(GOOD, distances=(0, 0, 0)), "never occurs"),
    "not UTF-8": (replace(GOOD, text=b"on\xff\0two\0link\0target\0"), "not UTF-8"),
    "UTF-8 of a surrogate": (replace(GOOD, text=b"\xed\xa0\x80\0two\0link\0t\0"), "not UTF-8"),
    "overlong UTF-8": (replace(GOOD, text=b"\xc0\xaf\0two\0link\0t\0"), "not UTF-8"),
    "one path less": (replace(GOOD, text=b"one\0two\0link\0"), "number of paths"),
    "one path more": (replace(GOOD, text=GOOD.text + b"x\0"), "number of paths"),
    "text that does not end": (replace(GOOD, text=GOOD.text[:-1] + b"x"), "number of paths"),
    "no text": (replace(GOOD, text=b""), "number of paths"),
    "nothing at all": (
        RawPage(
            kinds=(), sizes=(), ids=(), chunk_sizes=(), stored_sizes=(), homes=(), gaps=(),
            distances=(), bundle_ids=(), bundle_sizes=(), text=b"",
        ),
        "impossible counts",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("page", "rule"), BROKEN.values(), ids=BROKEN.keys())
def test_every_broken_rule_is_named(page: RawPage, rule: str) -> None:
    with pytest.raises(FormatError, match=rule) as raised:
        page.parse()
    assert digest_of(page.encode()).hex() in str(raised.value)


def test_a_page_is_believed_only_by_its_digest() -> None:
    data = GOOD.encode()
    ref = PageRef(digest=digest_of(b"").hex(), size=len(data), entry_count=3, chunk_count=3)
    with pytest.raises(IntegrityError, match="page"):
        parse_page(data, ref)


@pytest.mark.parametrize("ref", [{"entry_count": 2}, {"chunk_count": 4}, {"size": 1}])
def test_a_page_is_what_its_root_says(ref: dict[str, int]) -> None:
    with pytest.raises(FormatError, match="its root says"):
        GOOD.parse(**ref)


@pytest.mark.parametrize("length", [0, 3, 4, 39, 40, 41])
def test_a_page_cut_short_is_refused(length: int) -> None:
    with pytest.raises(FormatError):
        parse(GOOD.encode()[:length])


def test_bytes_behind_the_frame_are_refused() -> None:
    with pytest.raises(FormatError, match="damaged"):
        parse(GOOD.encode() + b"\0")


BOMBS = {
    "entries": {"E": 2**32 - 1},
    "entries, one too many": {"E": ENTRY_COUNT_MAX + 1},
    "chunks": {"C": 2**32 - 1, "R": 2**32 - 1},
    "occurrences": {"R": 2**32 - 1},
    "occurrences, one too many": {"R": CHUNK_COUNT_MAX + 1},
    "bundles": {"B": 2**32 - 1, "C": 2**32 - 1, "R": 2**32 - 1},
    "text": {"T": 2**32 - 1},
    "text, one too many": {"T": PLAIN_SIZE_MAX},
    "all within their own limits": {
        "E": ENTRY_COUNT_MAX,
        "C": CHUNK_COUNT_MAX,
        "R": CHUNK_COUNT_MAX,
    },
}


@pytest.mark.parametrize("counts", BOMBS.values(), ids=BOMBS.keys())
def test_counts_are_checked_before_anything_is_allocated(counts: dict[str, int]) -> None:
    page = replace(GOOD, counts=counts)
    entry_count, chunk_count = counts.get("E", 3), counts.get("R", 3)
    ref = PageRef(
        digest=digest_of(page.encode()).hex(),
        size=len(page.encode()),
        entry_count=entry_count,
        chunk_count=chunk_count,
    )
    with pytest.raises(FormatError), traced(1 << 20):
        parse_page(page.encode(), ref)


def test_a_frame_that_opens_to_more_than_the_counts_is_refused_unopened() -> None:
    bomb = zstandard.compress(bytes(63 << 20))
    assert len(bomb) < 10_000
    with pytest.raises(FormatError, match="promised"), traced(1 << 20):
        parse(GOOD.header() + bomb)


class traced:  # noqa: N801 - reads as a statement
    """Fail if what is done within takes more than ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def __enter__(self) -> None:
        tracemalloc.start()

    def __exit__(self, *_: object) -> None:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= self._limit, f"took {peak} bytes"


def survives(data: bytes) -> None:
    """Parse as whoever holds a root that names just these bytes; only our own errors may come."""
    counts = struct.unpack_from("<4sIQ6I", data.ljust(40, b"\0"))
    try:
        page = parse(
            data,
            entry_count=min(counts[3], ENTRY_COUNT_MAX),
            chunk_count=min(counts[5], CHUNK_COUNT_MAX),
        )
    except InvalidInput:
        return
    ends = page.chunks.offsets.astype(np.uint64) + page.chunks.stored_sizes
    sizes = np.array([bundle.size for bundle in page.chunks.bundles], np.uint64)
    assert np.all(ends <= sizes[page.chunks.bundle_indexes])
    assert sorted(set(page.occurrences.tolist())) == list(range(len(page.chunks)))


@pytest.mark.parametrize("position", range(40))
def test_no_byte_of_the_header_raises_anything_else(position: int) -> None:
    data = GOOD.encode()
    with traced(4 << 20):
        for value in range(256):
            survives(data[:position] + bytes([value]) + data[position + 1 :])


@pytest.mark.parametrize("position", range(len(GOOD.plain())))
def test_no_byte_of_the_columns_raises_anything_else(position: int) -> None:
    plain = GOOD.plain()
    with traced(4 << 20):
        for value in (0, 1, 2, 3, 4, 127, 128, 254, 255, plain[position] ^ 1):
            survives(
                GOOD.header()
                + codec.compress(plain[:position] + bytes([value]) + plain[position + 1 :])
            )


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_damage_anywhere_raises_anything_else(data: st.DataObject) -> None:
    raw = bytearray(GOOD.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


u32 = st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_numbers_in_the_columns_raise_anything_else(data: st.DataObject) -> None:
    def numbers(count: int, of: st.SearchStrategy[int] = u32) -> list[int]:
        return data.draw(st.lists(of, min_size=count, max_size=count))

    entry_count, chunk_count, bundle_count = numbers(3, st.integers(0, 4))
    survives(
        RawPage(
            offset=data.draw(st.integers(0, 2**64 - 1)),
            kinds=numbers(entry_count, st.integers(0, 4)),
            sizes=numbers(entry_count, st.one_of(u32, st.integers(0, 2**64 - 1))),
            ids=[data.draw(st.binary(min_size=16, max_size=16)) for _ in range(chunk_count)],
            chunk_sizes=numbers(chunk_count, st.integers(0, 1 << 20)),
            stored_sizes=numbers(chunk_count, st.integers(0, 50)),
            homes=numbers(chunk_count),
            gaps=numbers(chunk_count),
            distances=numbers(data.draw(st.integers(0, 6))),
            bundle_ids=[bytes([index]) * 32 for index in range(bundle_count)],
            bundle_sizes=numbers(bundle_count, st.integers(0, 33 << 20)),
            text=data.draw(st.binary(max_size=20)),
        ).encode()
    )


def bounds(count: int, estimate_of_chunk: Callable[[int], int], first: bool) -> list[int]:
    """How many chunks each page has, by the rule as the specification words it."""
    pages, cost, aim = [0], 36, FIRST_PAGE_AIM if first else PAGE_AIM
    for index in range(count):
        added = estimate_of_chunk(index)
        if pages[-1] and cost + added > aim:
            pages.append(0)
            cost, aim = 36, PAGE_AIM
        pages[-1] += 1
        cost += added
    return pages


@pytest.mark.parametrize("is_first", [True, False])
def test_pages_are_closed_where_the_specification_says(is_first: bool) -> None:
    """One bundle; every third chunk begins a file, whose path weighs by its bytes."""
    count = 24_000
    entries = [file(f"{number:06}é" + "x" * (number % 7), 3000) for number in range(count // 3)]
    chunks = chunk_table([1000] * count)
    in_one = np.zeros(count, np.uint32)
    chunks = replace(chunks, bundle_indexes=in_one, bundles=chunks.bundles[:1])
    pages = pages_of(entries, chunks, range(len(chunks)), first=is_first)

    def estimate(index: int) -> int:
        path = entries[index // 3].path.encode()
        return 24 + (6 + len(path) // 2 if index % 3 == 0 else 0)

    assert [page.chunk_count for page in pages] == bounds(len(chunks), estimate, is_first)
    assert sum(page.entry_count for page in pages) == len(entries)
    assert len(pages) > 2


def test_each_new_bundle_of_a_page_weighs() -> None:
    """Two bundles, in turn: 36 for each in the first page, and 36 for each again in the next."""
    chunks = chunk_table([10] * 2, per_bundle=1)
    count = 2 * (PAGE_AIM // 24)
    pages = pages_of([file("a", 10 * count)], chunks, [0, 1] * (count // 2), first=False)
    assert pages[0].chunk_count == (PAGE_AIM - 2 * 36 - 6) // 24
    assert pages[1].chunk_count == (PAGE_AIM - 2 * 36) // 24


def test_an_entry_without_bytes_stands_where_the_next_byte_lies() -> None:
    sizes = [1000] * 400
    chunks = chunk_table(sizes, per_bundle=400)
    (first, *_) = pages_of([file("all", 400_000)], chunks, range(400))
    at = first.chunk_count * 1000
    entries = [file("one", at), Entry("empty", EntryKind.DIRECTORY), file("two", 400_000 - at)]
    assert [page.entry_count for page in pages_of(entries, chunks, range(400))] == [1, 2]


def test_entries_too_many_for_one_page_are_refused_when_written() -> None:
    entries = [Entry("x" * 999 + str(number), EntryKind.DIRECTORY) for number in range(68_000)]
    with pytest.raises(InvalidInput, match="67999 entries after it share one chunk"):
        pages_of(entries, chunk_table([]), [])
