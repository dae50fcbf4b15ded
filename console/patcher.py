"""Apply deltas: check them, read their bases from what is here, and hand out verified chunks.

Nothing a delta does is trusted. Its digest is checked before it is opened, each base chunk when
it is read, and each chunk it makes against its id. Where something does not hold, the rows it
should have brought are fetched as plain chunks.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chunks.chunk_id import CHUNK_ID_SIZE, ChunkId, digest_of
from chunks.delta import apply_delta
from console.durable import write_all
from console.safe_paths import Folder
from console.seeds import Seed, SeedReader, read_exactly, same_rows
from console.staging import Staging, Written
from kit.buffers import Buffer
from kit.errors import FormatError
from manifests.delta_index import DeltaIndex
from manifests.delta_plan import Step

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC

_STONE_NAME = re.compile(rf"stone\.[0-9a-f]{{{2 * CHUNK_ID_SIZE}}}")


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a chunk can be read: a seed by number, and group and occurrence in it."""

    seed: int
    group: int
    occurrence: int


def spots_of(seeds: Sequence[Seed], indexes: Sequence[DeltaIndex]) -> dict[ChunkId, Spot]:
    """Return where each chunk that ``indexes`` name can be read on this console, if anywhere."""
    found: dict[ChunkId, Spot] = {}
    for number, seed in enumerate(seeds):
        groups, occurrences = seed.first_usable()
        for index in indexes:
            rows = same_rows(index.ids, seed.build.chunks.ids)
            for chunk_id, row in zip(index.all_ids, rows.tolist(), strict=True):
                if row >= 0 and groups[row] >= 0 and chunk_id not in found:
                    found[chunk_id] = Spot(number, int(groups[row]), int(occurrences[row]))
    return found


class Patcher:
    """Applies the deltas of one operation. Its methods block; any thread may call."""

    def __init__(
        self,
        seeds: Sequence[Seed],
        spots: Mapping[ChunkId, Spot],
        stones: StoneFiles,
        staging: Staging,
    ) -> None:
        self._seeds = seeds
        self._spots = spots
        self._stones = stones
        self._staging = staging

    def apply(self, step: Step, payload: memoryview) -> Written:
        """Make and write the chunks of one delta.

        Raises:
            FormatError: The delta is damaged, or is not for what is here; nothing was written.
        """
        bases = _Bases(self._seeds, self._spots, self._stones)
        try:
            target = _made(step, payload, bases)
        finally:
            bases.close()
        if step.is_stone:
            self._stones.put(step, target)
        written = self._staging.put_verified(_chunks(step, target))
        written.size += len(target) if step.is_stone else 0
        return written


class StoneFiles:
    """Chunks that only deltas need, in files of the staging folder, one for each delta."""

    def __init__(self, folder: Folder) -> None:
        """Use ``folder``, which belongs to the caller."""
        self._folder = folder
        self._places: dict[ChunkId, tuple[str, int, int]] = {}

    @staticmethod
    def checks_in(folder: Folder) -> frozenset[bytes]:
        """Return the checks of deltas whose stones an earlier attempt left in ``folder``."""
        return frozenset(bytes.fromhex(name.removeprefix("stone.")) for name in stone_names(folder))

    def learn(self, index: DeltaIndex, present: frozenset[bytes]) -> None:
        """Take in where the chunks lie that deltas of ``index`` made before; by their checks."""
        if not present:
            return
        for number in range(len(index)):
            check = index.checks[number].tobytes()
            if check in present:
                ids = [index.all_ids[row] for row in index.target_rows(number).tolist()]
                sizes = index.sizes[index.target_rows(number)].tolist()
                self._place(check, ids, sizes)

    def put(self, step: Step, target: Buffer) -> None:
        """Keep what a delta made; seen whole or not at all."""
        name = _stone_name(step.delta.check)
        with self._folder.clone() as folder:
            scratch = f"{name}.new"
            fd = os.open(scratch, _NEW, 0o600, dir_fd=folder.fd)
            try:
                write_all(fd, target)
            finally:
                os.close(fd)
            folder.take_in(folder, scratch, name)
        self._place(step.delta.check, step.delta.targets, step.sizes)

    def read(self, chunk_id: ChunkId) -> Buffer | None:
        """Return a chunk if a stone holds it and it is what its id says."""
        place = self._places.get(chunk_id)
        if place is None:
            return None
        name, offset, size = place
        with self._folder.clone() as folder:
            fd = folder.open_file(name)
            if fd is None:
                return None
            content = bytearray(size)
            try:
                is_whole = read_exactly(fd, memoryview(content), offset)
            finally:
                os.close(fd)
        is_right = is_whole and digest_of(content)[:CHUNK_ID_SIZE] == chunk_id
        return content if is_right else None

    def _place(self, check: bytes, ids: Sequence[ChunkId], sizes: Sequence[int]) -> None:
        name, at = _stone_name(check), 0
        for chunk_id, size in zip(ids, sizes, strict=True):
            self._places[chunk_id] = name, at, size
            at += size


class _Bases:
    """Reads base chunks, keeping files open from one to the next. Belongs to one thread."""

    def __init__(
        self, seeds: Sequence[Seed], spots: Mapping[ChunkId, Spot], stones: StoneFiles
    ) -> None:
        self._readers = [SeedReader(seed) for seed in seeds]
        self._spots = spots
        self._stones = stones

    def read(self, step: Step) -> bytes:
        """Return the base of a step.

        Raises:
            FormatError: A chunk of it cannot be read, or is not what it was.
        """
        base = io.BytesIO()  # gives its bytes away without a copy
        left_size = step.base_size
        for chunk_id in step.delta.bases:
            chunk = self._chunk(chunk_id)
            if chunk is None:
                raise FormatError(f"base chunk {chunk_id.hex()} is not here any more")
            left_size -= len(chunk)
            if left_size < 0:
                break
            base.write(chunk)
        if left_size != 0:
            raise FormatError("a delta's base chunks have other sizes than its index says")
        return base.getvalue()

    def close(self) -> None:
        for reader in self._readers:
            reader.close()

    def _chunk(self, chunk_id: ChunkId) -> Buffer | None:
        spot = self._spots.get(chunk_id)
        if spot is None:
            return self._stones.read(chunk_id)
        return self._readers[spot.seed].read(spot.group, spot.occurrence)


def stone_names(folder: Folder) -> list[str]:
    """Return the names of the stones in ``folder``."""
    return [name for name in folder.names() if _STONE_NAME.fullmatch(name)]


def _made(step: Step, payload: memoryview, bases: _Bases) -> Buffer:
    """Return what a delta makes, every chunk of it verified."""
    name = f"delta {step.delta.check.hex()}"
    if digest_of(payload)[:CHUNK_ID_SIZE] != step.delta.check:
        raise FormatError(f"{name}: the bytes received are not it")
    base = bases.read(step)
    target = apply_delta(step.delta.method, payload, base, step.target_size)
    view, at = memoryview(target), 0
    for chunk_id, size in zip(step.delta.targets, step.sizes, strict=True):
        if digest_of(view[at : at + size])[:CHUNK_ID_SIZE] != chunk_id:
            raise FormatError(f"{name}: chunk {chunk_id.hex()} did not come out right")
        at += size
    return target


def _chunks(step: Step, target: Buffer) -> Iterator[tuple[int, Buffer]]:
    view, at = memoryview(target), 0
    for row, size in zip(step.rows, step.sizes, strict=True):
        if row >= 0:
            yield row, view[at : at + size]
        at += size


def _stone_name(check: bytes) -> str:
    return f"stone.{check.hex()}"
