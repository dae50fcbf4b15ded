"""Check all of a published title: whatever a console may be sent, and that it adds up to files.

Heads, releases, roots and pages first: they say which bundles there must be, and where in them
each chunk lies. Then every bundle, once, however many builds use it. A finding is kept and the
search goes on. Memory holds one build's manifest, 28 bytes for each place of a chunk, and a few
bundles.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from chunks import codec
from chunks.bundle import TAIL_SIZE, StoredChunk, index_size, parse_index, parse_tail
from chunks.chunk_id import CHUNK_ID_SIZE, DIGEST_SIZE, Digest, check_digest
from chunks.slices import BUNDLE_SIZE_MAX, SLICE_SIZE, SliceList
from kit.concurrency import for_each
from kit.errors import FormatError, IntegrityError, InvalidInput, NotFound
from manifests import locations
from manifests.assembly import assemble
from manifests.documents import ObjectRef, PageRef, Release, Root
from manifests.model import BundleRef
from manifests.names import channel as channel_name
from manifests.page import Page, parse_page
from packager.title_store import TitleStore

BUNDLES_AT_ONCE = 4
"""Two are read while two are checked, on two cores; together at most 128 MiB."""

PAGES_AT_ONCE = 8

NAMED_MAX = 3
"""Of many like findings in one object so many are spelt out; the rest is counted."""

T = TypeVar("T")


class Rule(Enum):
    """What is broken."""

    MISSING = "missing"
    """It is referred to and not there."""
    DIGEST = "digest"
    """Its bytes are not those its name promises: damaged, cut off, or too long."""
    FORMAT = "format"
    """Its bytes break a rule of the format, or are of a version this program does not know."""
    SIZE = "size"
    """It has another size than what refers to it says."""
    RELEASE = "release"
    """A head holds another release than the one stored under its counter."""
    SLICE = "slice"
    """A slice of a bundle does not match the slice list."""
    PLACE = "place"
    """A page says that a chunk lies where the bundle's index has none, or another."""
    CHUNK = "chunk"
    """A chunk of a bundle does not open to its id."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding: the object, the rule it breaks, and the releases that need it."""

    key: str
    rule: Rule
    detail: str
    releases: tuple[int, ...]
    """Counters; empty for a head that cannot be read."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Bundles, and their bytes, checked so far and in all."""

    bundle_count: int
    bundle_count_done: int
    size: int
    size_done: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was looked at and what is wrong with it."""

    release_count: int
    build_count: int
    bundle_count: int
    bundle_size: int
    """Bytes of all bundles."""
    problems: tuple[Problem, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.problems


_Finding = tuple[Rule, str]

_ROW = np.dtype([("offset", "<u4"), ("size", "<u4"), ("stored", "<u4"), ("id", "V16")])
_PACKED_ROW = np.dtype(f"V{_ROW.itemsize}")


@dataclass(slots=True)
class _Bundle:
    """What the pages say of one bundle."""

    sizes: set[int] = field(default_factory=set)
    """In bytes; one, unless pages contradict each other."""
    releases: set[int] = field(default_factory=set)
    rows: NDArray[np.void] = field(default_factory=lambda: np.empty(0, _PACKED_ROW))
    """Distinct chunks and their places."""

    def add(self, size: int, rows: NDArray[np.void], releases: Sequence[int]) -> None:
        self.sizes.add(size)
        self.releases.update(releases)
        self.rows = np.unique(np.concatenate([self.rows, rows]))


async def verify(
    store: TitleStore,
    *,
    is_quick: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Verdict:
    """Check a title; ``is_quick`` looks at bundles and slice lists only for existence and size.

    A sweep that runs meanwhile may delete what is being checked; to exclude that, hold the lock.

    Raises:
        NotFound: Nothing was published under this title.
        Unavailable: The storage did not answer: nothing can be said.
    """
    return await _Verification(store, on_progress).run(is_quick=is_quick)


class _Verification:
    def __init__(self, store: TitleStore, on_progress: Callable[[Progress], None]) -> None:
        self._store = store
        self._on_progress = on_progress
        self._problems: list[Problem] = []
        self._bundles: dict[Digest, _Bundle] = {}

    async def run(self, *, is_quick: bool) -> Verdict:
        releases = await self._releases()
        builds: dict[ObjectRef, list[int]] = {}
        for counter in sorted(releases):
            builds.setdefault(releases[counter].root, []).append(counter)
        for root, counters in builds.items():
            await self._check_build(root, counters)
        await (self._check_sizes() if is_quick else self._check_contents())
        return Verdict(
            release_count=len(releases),
            build_count=len(builds),
            bundle_count=len(self._bundles),
            bundle_size=sum(max(bundle.sizes) for bundle in self._bundles.values()),
            problems=tuple(self._problems),
        )

    async def _releases(self) -> dict[int, Release]:
        """Check heads and releases; return every release that either holds, by counter."""
        title, found_any = self._store.title, False
        releases: dict[int, Release] = {}
        prefix = locations.releases_prefix(title)
        async for stat in self._store.storage.list(prefix):
            found_any = True
            name = stat.key.removeprefix(prefix)
            if not re.fullmatch(r"[0-9]{10}", name):
                self._note(stat.key, (), [(Rule.FORMAT, "is not named by a counter of 10 digits")])
                continue
            release = await self._read(stat.key, [int(name)], self._store.release(int(name)))
            if release is not None:
                releases[release.counter] = release
        prefix = locations.heads_prefix(title)
        async for stat in self._store.storage.list(prefix):
            found_any = True
            await self._check_head(stat.key, stat.key.removeprefix(prefix), releases)
        if not found_any:
            raise NotFound(f"title {title}: nothing was published under this name")
        return releases

    async def _check_head(self, key: str, name: str, releases: dict[int, Release]) -> None:
        try:
            head = await self._read(key, (), self._store.head(channel_name(name)))
        except InvalidInput as error:
            self._note(key, (), [(Rule.FORMAT, str(error))])
            return
        if head is None:
            return
        counter = head.release.counter
        stored = releases.setdefault(counter, head.release)
        if stored is head.release:
            missing = locations.release_key(self._store.title, counter)
            if not any(problem.key == missing for problem in self._problems):
                self._note(missing, [counter], [(Rule.MISSING, f"{key} points to it")])
        elif stored != head.release:
            self._note(key, [counter], [(Rule.RELEASE, f"differs from release {counter}")])

    async def _check_build(self, ref: ObjectRef, counters: Sequence[int]) -> None:
        key = locations.manifest_key(self._store.title, ref.raw_digest)
        root = await self._read(key, counters, self._store.root(ref))
        if root is None:
            return
        found: list[list[Page]] = []
        for group in root.groups:
            check = functools.partial(self._check_page, counters=counters)
            pages = await for_each(group.pages, check, at_once=PAGES_AT_ONCE)
            found.append([page for page in pages if page is not None])
        if all(len(pages) == len(of.pages) for pages, of in zip(found, root.groups, strict=True)):
            findings = await asyncio.to_thread(_assembled, ref.raw_digest, root, found)
            self._note(key, counters, findings)

    async def _check_page(self, ref: PageRef, counters: Sequence[int]) -> Page | None:
        key = locations.manifest_key(self._store.title, ref.raw_digest)

        async def read() -> tuple[Page, list[tuple[BundleRef, NDArray[np.void]]]]:
            data = await self._store.storage.get(key, size_max=ref.size)
            return await asyncio.to_thread(_parsed, data, ref)

        parsed = await self._read(key, counters, read())
        if parsed is None:
            return None
        page, parts = parsed
        for bundle, rows in parts:
            self._bundles.setdefault(bundle.bundle_id, _Bundle()).add(bundle.size, rows, counters)
        return page

    async def _check_sizes(self) -> None:
        title, storage = self._store.title, self._store.storage
        sizes: dict[str, int] = {}
        for prefix in (locations.bundles_prefix(title), locations.slice_lists_prefix(title)):
            sizes |= {stat.key: stat.size async for stat in storage.list(prefix)}
        for bundle_id, bundle in self._bundles.items():
            wanted = max(bundle.sizes)
            expected = (
                (locations.bundle_key(title, bundle_id), wanted),
                (locations.slice_list_key(title, bundle_id), _list_size(wanted)),
            )
            for key, size in expected:
                self._note(key, sorted(bundle.releases), _size_findings(sizes.get(key), size))

    async def _check_contents(self) -> None:
        """Read and check every bundle, a few at a time."""
        total = sum(max(bundle.sizes) for bundle in self._bundles.values())
        done_count = done_size = 0

        async def check(named: tuple[Digest, _Bundle]) -> None:
            nonlocal done_count, done_size
            await self._check_bundle(*named)
            done_count += 1
            done_size += max(named[1].sizes)
            self._on_progress(Progress(len(self._bundles), done_count, total, done_size))

        await for_each(self._bundles.items(), check, at_once=BUNDLES_AT_ONCE)

    async def _check_bundle(self, bundle_id: Digest, bundle: _Bundle) -> None:
        title, counters = self._store.title, sorted(bundle.releases)
        list_key = locations.slice_list_key(title, bundle_id)
        slices = await self._read(list_key, counters, self._store.slice_list(bundle_id))
        key = locations.bundle_key(title, bundle_id)
        data = await self._read(
            key, counters, self._store.storage.get(key, size_max=BUNDLE_SIZE_MAX)
        )
        if data is not None:
            found = await asyncio.to_thread(_examined, bundle_id.hex(), data, slices, bundle)
            self._note(key, counters, found)

    async def _read(self, key: str, releases: Sequence[int], read: Awaitable[T]) -> T | None:
        """Return what ``read`` does; None, and a problem noted, if the object is not right."""
        try:
            return await read
        except NotFound:
            self._note(key, releases, [(Rule.MISSING, "is referred to and not there")])
        except IntegrityError as error:
            self._note(key, releases, [(Rule.DIGEST, str(error))])
        except InvalidInput as error:
            self._note(key, releases, [(Rule.FORMAT, str(error))])
        return None

    def _note(self, key: str, releases: Sequence[int], found: Sequence[_Finding]) -> None:
        for rule, detail in found:
            self._problems.append(Problem(key, rule, detail, tuple(releases)))


# What follows is pure, and runs in threads.


def _assembled(build_id: Digest, root: Root, pages: Sequence[Sequence[Page]]) -> list[_Finding]:
    try:
        assemble(build_id, root, pages)
    except InvalidInput as error:
        return [(Rule.FORMAT, str(error))]
    return []


def _parsed(data: bytes, ref: PageRef) -> tuple[Page, list[tuple[BundleRef, NDArray[np.void]]]]:
    """Read a page; return it, and its rows by bundle."""
    page = parse_page(data, ref)
    table = page.chunks
    rows = np.empty(len(table), _ROW)
    rows["offset"], rows["size"] = table.offsets, table.sizes
    rows["stored"], rows["id"] = table.stored_sizes, table.ids
    packed = rows.view(_PACKED_ROW)
    parts = [
        (bundle, packed[table.bundle_indexes == index])
        for index, bundle in enumerate(table.bundles)
    ]
    return page, parts


def _examined(name: str, data: bytes, slices: SliceList | None, bundle: _Bundle) -> list[_Finding]:
    """Return what is wrong with a bundle of bytes ``data``."""
    found = [finding for size in bundle.sizes for finding in _size_findings(len(data), size)]
    if slices is not None:
        if slices.bundle_size == len(data):
            found += _one(Rule.SLICE, "slices", _bad_slices(data, slices), len(slices.digests))
        elif slices.bundle_size not in bundle.sizes:
            found += _size_findings(len(data), slices.bundle_size)
    try:
        index = _index_of(name, data)
    except FormatError as error:
        return [*found, (Rule.FORMAT, str(error))]
    found += _one(Rule.PLACE, "places of chunks", _misplaced(bundle, index), len(bundle.rows))
    found += _one(Rule.CHUNK, "chunks", _bad_chunks(data, index), len(index))
    return found


def _index_of(name: str, data: bytes) -> tuple[StoredChunk, ...]:
    count = parse_tail(name, data[-TAIL_SIZE:], len(data))
    return parse_index(name, data[-index_size(count) :], len(data))


def _bad_slices(data: bytes, slices: SliceList) -> Iterator[str]:
    view = memoryview(data)
    for index in range(len(slices.digests)):
        start, end = slices.span(index)
        try:
            slices.check(index, view[start:end])
        except IntegrityError:
            yield f"slice {index}, bytes {start} to {end}"


def _misplaced(bundle: _Bundle, index: Sequence[StoredChunk]) -> Iterator[str]:
    there = {(c.offset, c.size, c.stored_size, bytes(c.digest[:CHUNK_ID_SIZE])) for c in index}
    for offset, size, stored_size, id_ in bundle.rows.view(_ROW).tolist():
        if (offset, size, stored_size, bytes(id_)) not in there:
            yield f"chunk {bytes(id_).hex()} at {offset}, {size} bytes stored in {stored_size}"


def _bad_chunks(data: bytes, index: Sequence[StoredChunk]) -> Iterator[str]:
    view = memoryview(data)
    for chunk in index:
        name = f"chunk {chunk.digest.hex()} at {chunk.offset}"
        try:
            stored = view[chunk.offset : chunk.offset + chunk.stored_size]
            check_digest(name, codec.unpack(stored, chunk.size), chunk.digest)
        except (FormatError, IntegrityError):
            yield name


def _size_findings(found: int | None, expected: int) -> list[_Finding]:
    if found is None:
        return [(Rule.MISSING, "is referred to and not there")]
    if found != expected:
        return [(Rule.SIZE, f"has {found} bytes, expected {expected}")]
    return []


def _list_size(bundle_size: int) -> int:
    """Return how many bytes the slice list of a bundle takes."""
    return 8 + DIGEST_SIZE * -(-bundle_size // SLICE_SIZE)


def _one(rule: Rule, what: str, bad: Iterator[str], count: int) -> list[_Finding]:
    """Make one finding of many like ones."""
    names = list(bad)
    if not names:
        return []
    more = "" if len(names) <= NAMED_MAX else f", and {len(names) - NAMED_MAX} more"
    return [(rule, f"{len(names)} of {count} {what} wrong: {'; '.join(names[:NAMED_MAX])}{more}")]
