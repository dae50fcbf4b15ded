"""What a check of a published title finds: rules, problems, and the making of one out of many."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from chunks.chunk_id import DIGEST_SIZE
from chunks.slices import SLICE_SIZE, SliceList
from kit.errors import IntegrityError, InvalidInput, NotFound

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
    TRUST = "trust"
    """Publisher and platform do not both vouch for what a head points to: consoles refuse it."""
    SLICE = "slice"
    """A slice of a bundle does not match the slice list."""
    PLACE = "place"
    """A page, or a delta index, says that something lies where its bundle has none, or another."""
    CHUNK = "chunk"
    """A chunk of a bundle does not open to its id."""
    DELTA = "delta"
    """A delta's payload is not what its index says, or does not make the chunks it should."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding: the object, the rule it breaks, and the releases that need it."""

    key: str
    rule: Rule
    detail: str
    releases: tuple[int, ...]
    """Counters; empty for a head that cannot be read."""


@dataclass(slots=True)
class BundleUse:
    """What refers to one bundle says of it."""

    sizes: set[int] = field(default_factory=set)
    """In bytes; one, unless what refers to it contradicts itself."""
    releases: set[int] = field(default_factory=set)
    """Counters of those that need it."""


Finding = tuple[Rule, str]


class Findings:
    """Collects problems: one is kept and the search goes on."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    async def read(self, key: str, releases: Sequence[int], read: Awaitable[T]) -> T | None:
        """Return what ``read`` does; None, and a problem noted, if the object is not right."""
        try:
            return await read
        except NotFound:
            self.note(key, releases, [(Rule.MISSING, "is referred to and not there")])
        except IntegrityError as error:
            self.note(key, releases, [(Rule.DIGEST, str(error))])
        except InvalidInput as error:
            self.note(key, releases, [(Rule.FORMAT, str(error))])
        return None

    def note(self, key: str, releases: Sequence[int], found: Sequence[Finding]) -> None:
        """Keep what was found of an object that ``releases`` need."""
        for rule, detail in found:
            self.problems.append(Problem(key, rule, detail, tuple(releases)))


def size_findings(found: int | None, expected: int) -> list[Finding]:
    """Return what is wrong with an object's size in bytes; None if it is not there."""
    if found is None:
        return [(Rule.MISSING, "is referred to and not there")]
    if found != expected:
        return [(Rule.SIZE, f"has {found} bytes, expected {expected}")]
    return []


def list_size(bundle_size: int) -> int:
    """Return how many bytes the slice list of a bundle takes."""
    return 8 + DIGEST_SIZE * -(-bundle_size // SLICE_SIZE)


def bad_slices(data: bytes, slices: SliceList) -> Iterator[str]:
    """Yield the slices of a bundle of the right size that differ from its list."""
    view = memoryview(data)
    for index in range(len(slices.digests)):
        start, end = slices.span(index)
        try:
            slices.check(index, view[start:end])
        except IntegrityError:
            yield f"slice {index}, bytes {start} to {end}"


def one(rule: Rule, what: str, bad: Iterator[str], count: int) -> list[Finding]:
    """Make one finding of many like ones."""
    names = list(bad)
    if not names:
        return []
    more = "" if len(names) <= NAMED_MAX else f", and {len(names) - NAMED_MAX} more"
    return [(rule, f"{len(names)} of {count} {what} wrong: {'; '.join(names[:NAMED_MAX])}{more}")]
