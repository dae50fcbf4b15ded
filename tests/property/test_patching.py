"""Any old files, any moves between them: a machine that stops anywhere still gets the new bytes.

The disk here forgets, at a crash, any part of what was not made durable.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from console.arranging import Arranged, Draft, arrange, arranged, ascending, rounded, sweeping
from console.holes import follow_holes
from console.journal import Applied, Taken
from console.patching import apply_batches
from console.script import File, Move, Part, Script
from kit.buffers import Buffer


class Crash(Exception):  # noqa: N818 - it is no error of ours
    """The machine stops here."""


@dataclass
class ForgetfulDisk:
    """Files in memory; writes that were not synced may be lost, each for itself."""

    files: dict[int, bytearray]
    random: random.Random
    effects_left: int = 1 << 60
    applied: int = 0
    size_max: int = 0
    """Most bytes held at a time."""
    written_size: int = 0
    _unsynced: dict[int, list[tuple[int, bytes, int]]] = field(default_factory=dict)
    """By file: offset, what was there before, and the size before."""

    def read(self, part: Part) -> bytes | None:
        content = bytes(self.files.get(part.file, b"")[part.offset : part.end])
        return content if len(content) == part.size else None

    def write(self, target: Part, content: Buffer) -> None:
        self._effect()
        data = bytes(memoryview(content))
        file = self.files[target.file]
        end = target.offset + len(data)
        before = bytes(file[target.offset : end])
        self._unsynced.setdefault(target.file, []).append((target.offset, before, len(file)))
        if len(file) < end:
            file.extend(bytes(end - len(file)))
        file[target.offset : end] = data
        self.written_size += len(data)
        self._measure()

    def sync(self, files: Iterable[int]) -> None:
        self._effect()
        for file in files:
            self._unsynced.pop(file, None)

    def is_saved(self, file: int) -> bool:
        return file in self.files

    def save(self, file: int, parts: Sequence[Part]) -> None:
        self._effect()
        content = bytearray()
        for part in parts:
            found = self.read(part)
            assert found is not None
            content += found
        self.files[file] = content
        self.written_size += len(content)
        self._measure()

    def shrink(self, kept: Iterable[Part]) -> None:
        for part in kept:
            if len(self.files.get(part.file, b"")) > part.end:
                self._effect()
                del self.files[part.file][part.end :]

    def drop(self, files: Iterable[int]) -> None:
        for file in files:
            if file in self.files:
                self._effect()
                del self.files[file]

    def append(self, record: Taken | Applied) -> None:
        self._effect()
        assert isinstance(record, Applied)
        self.applied = record.batches

    def crash(self) -> None:
        """Lose any of what was not synced, in any combination."""
        for file, writes in self._unsynced.items():
            content = self.files[file]
            for offset, before, size in reversed(writes):
                if self.random.random() < 0.5:
                    content[offset : offset + len(before)] = before
                    del content[max(size, offset + len(before)) :]
        self._unsynced.clear()

    def _effect(self) -> None:
        if self.effects_left == 0:
            raise Crash
        self.effects_left -= 1

    def _measure(self) -> None:
        self.size_max = max(self.size_max, sum(len(file) for file in self.files.values()))


@dataclass(frozen=True)
class Case:
    draft: Draft
    before: dict[int, bytes]
    after: dict[int, bytes]

    def disk(self, seed: int = 0) -> ForgetfulDisk:
        files = {file: bytearray(content) for file, content in self.before.items()}
        return ForgetfulDisk(files, random.Random(seed))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A few patched files, a file that is only read, stored chunks, and moves between all."""
    noise = random.Random(draw(st.integers(0, 1000)))
    count = draw(st.integers(1, 3))
    old = {file: noise.randbytes(draw(st.integers(1, 400))) for file in range(count + 1)}
    before, after = dict(old), dict[int, bytes]()
    moves: list[Move] = []
    stored: dict[int, int] = {}
    for target in range(count):
        content = b""
        for kind, size in draw(st.lists(st.tuples(kinds, st.integers(1, 120)), max_size=9)):
            if kind == "keep" and len(content) + size <= len(old[target]):
                content += old[target][len(content) : len(content) + size]
                continue
            sources: list[Part] = []
            if kind == "new":
                file = count + 1 + len(stored)
                before[file] = noise.randbytes(size)
                stored[file] = size
                sources = [Part(file, 0, size)]
            else:
                for _ in range(2 if kind == "two" else 1):
                    source = draw(st.integers(0, count))
                    start = draw(st.integers(0, len(old[source]) - 1))
                    there = len(old[source]) - start
                    sources.append(Part(source, start, min(size, there)))
            made = b"".join(before[s.file][s.offset : s.end] for s in sources)
            moves.append(Move(Part(target, len(content), len(made)), tuple(sources)))
            content += made
        after[target] = content
    moves = draw(st.permutations(moves))
    files = tuple(File(f"{n}", True) for n in range(len(before)))
    sizes = {file: len(old[file]) for file in range(count)}
    return Case(Draft(files, moves, sizes, stored), before, after)


kinds = st.sampled_from(["keep", "keep", "move", "move", "two", "new"])
orders = st.sampled_from(
    [sweeping, ascending, lambda moves: follow_holes(moves, 1 << 20), lambda m: follow_holes(m, 50)]
)


def arrange_in(case: Case, order: object, batch_size: int) -> Arranged:
    assert callable(order)
    return arranged(case.draft, order(case.draft.moves), batch_size)


def script_for(found: Arranged) -> Script:
    return Script(takes=(), files=found.files, batches=found.batches)


def assert_patched(case: Case, disk: ForgetfulDisk) -> None:
    for file, content in case.after.items():
        assert bytes(disk.files[file][: len(content)]) == content
    left = set(disk.files) - set(range(len(case.before)))
    assert not left, "a saved file is left over"
    assert not left | (set(disk.files) & set(case.draft.stored_sizes)), "a chunk is left over"


@given(cases(), orders, st.sampled_from([1, 60, 300, 10_000]))
@settings(max_examples=400, deadline=None)
def test_patched_files_have_the_new_bytes(case: Case, order: object, batch_size: int) -> None:
    disk = case.disk()
    apply_batches(script_for(arrange_in(case, order, batch_size)), disk, disk, 0)
    assert_patched(case, disk)


@given(cases(), orders, st.sampled_from([60, 300]), st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_patching_that_is_stopped_between_any_two_effects_goes_on(
    case: Case, order: object, batch_size: int, seed: int
) -> None:
    script = script_for(arrange_in(case, order, batch_size))
    whole = case.disk()
    apply_batches(script, whole, whole, 0)
    for effects in range((1 << 60) - whole.effects_left):
        disk = case.disk(seed)
        disk.effects_left = effects
        crashes = 0
        while True:
            try:
                apply_batches(script, disk, disk, disk.applied)
            except Crash:
                crashes += 1
                disk.crash()
                # A few more crashes, soon after each other, then none.
                disk.effects_left = disk.random.randrange(1, 6) if crashes < 4 else 1 << 60
            else:
                break
        assert_patched(case, disk)


@given(cases(), orders, st.sampled_from([1, 60, 300, 10_000]))
@settings(max_examples=300, deadline=None)
def test_room_and_writes_are_as_planned(case: Case, order: object, batch_size: int) -> None:
    found = arrange_in(case, order, batch_size)
    disk = case.disk()
    disk.size_max = held = sum(len(content) for content in disk.files.values())
    apply_batches(script_for(found), disk, disk, 0)
    slack = sum(rounded(len(content)) for content in case.before.values()) - held
    assert disk.size_max - held <= found.peak_size + slack
    assert disk.written_size == found.written_size


@given(cases(), st.sampled_from([10, 50, 1 << 20]))
@settings(max_examples=300, deadline=None)
def test_following_holes_moves_every_byte_once(case: Case, step_size: int) -> None:
    moves = follow_holes(case.draft.moves, step_size)
    moved = sorted((m.target.file, b) for m in moves for b in range(m.target.offset, m.target.end))
    wanted = [
        (m.target.file, b) for m in case.draft.moves for b in range(m.target.offset, m.target.end)
    ]
    assert moved == sorted(wanted)


MIB = 1 << 20


def pak(*members: tuple[int | None, int]) -> Draft:
    """One file of 64 MiB; ``members`` of the new one are old bytes from an offset, or new ones."""
    files, moves, stored, offset = [File("pak", True)], list[Move](), dict[int, int](), 0
    for start, size in members:
        for at in range(0, size, 256 << 10):
            length = min(256 << 10, size - at)
            source = Part(0, (start or 0) + at, length)
            if start is None:
                files.append(File(f"chunk.{len(files)}", True))
                source = Part(len(files) - 1, 0, length)
                stored[source.file] = length
            if source != (target := Part(0, offset + at, length)):
                moves.append(Move(target, (source,)))
        offset += size
    return Draft(tuple(files), moves, {0: 64 * MIB}, stored)


def members_in_any_order(seed: int, count: int) -> list[tuple[int | None, int]]:
    rng = random.Random(seed)
    cuts = sorted(rng.randrange(64 * MIB) for _ in range(count - 1))
    bounds = [0, *cuts, 64 * MIB]
    members: list[tuple[int | None, int]] = [
        (start, end - start) for start, end in pairwise(bounds)
    ]
    rng.shuffle(members)
    return members


def test_uniform_shift_needs_one_batch_of_room() -> None:
    for draft in (pak((None, 100), (0, 64 * MIB)), pak((100, 64 * MIB - 100))):
        assert arrange(draft, 0).peak_size <= MIB + 8192


def test_insertion_at_the_front_needs_no_room_beside_the_new_bytes() -> None:
    assert arrange(pak((None, 8 * MIB), (0, 64 * MIB)), 0).peak_size <= 2 * MIB


def test_members_in_another_order_need_little_room() -> None:
    for seed in range(3):
        found = arrange(pak(*members_in_any_order(seed, 12)), 0)
        assert found.peak_size <= 3 * MIB


def test_more_room_means_fewer_batches() -> None:
    draft = pak((None, 100), (0, 64 * MIB))
    assert len(arrange(draft, 64 * MIB).batches) < len(arrange(draft, 0).batches) / 8
