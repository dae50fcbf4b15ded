"""Put a build's files into install groups, in play order (``docs/operating/layout.md``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta
from pathspec import GitIgnoreSpec, Pattern

from kit.errors import InvalidInput
from manifests.documents import GROUP_COUNT_MAX
from manifests.model import EntryKind
from manifests.names import GROUP_PATTERN
from packager.problems import Problems
from packager.scan import ScannedFile
from packager.text_files import read_text

ONLY_GROUP = "game"
"""What the one group of a build without a layout is called."""

REST_GROUP = "rest"
"""The group after all others, for what no pattern matches."""


class LayoutGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An install group and the patterns of its files, in play order."""

    name: Annotated[str, Meta(pattern=GROUP_PATTERN)]
    files: Annotated[tuple[str, ...], Meta(min_length=1)]


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The groups of a build, in play order; ``strict`` refuses files that no pattern matches."""

    group: Annotated[tuple[LayoutGroup, ...], Meta(min_length=1, max_length=GROUP_COUNT_MAX - 1)]
    strict: bool = False


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """An install group to be: its files in play order."""

    name: str
    files: tuple[ScannedFile, ...]


_Place: TypeAlias = tuple[int, Pattern]


def load_layout(path: Path) -> Layout:
    """Read a layout file.

    Raises:
        InvalidInput: It cannot be read, or breaks a rule; the key is named.
    """
    text = read_text(path)
    if text is None:
        raise InvalidInput(f"layout {path}: no such file")
    try:
        layout = msgspec.toml.decode(text, type=Layout)
        _places(layout)
    except (msgspec.DecodeError, InvalidInput) as error:
        raise InvalidInput(f"layout {path}: {error}") from error
    return layout


def arrange(files: Sequence[ScannedFile], layout: Layout | None) -> list[PlannedGroup]:
    """Return ``files``, which are sorted by path, by install group and in play order.

    Raises:
        InvalidInput: A group would be empty, or the layout is strict and a file has no place.
    """
    if layout is None:
        return [PlannedGroup(ONLY_GROUP, tuple(files))]
    groups = _grouped(files, layout)
    *_, rest = groups
    _check(groups if rest.files else groups[:-1], rest.files if layout.strict else ())
    return groups if rest.files else groups[:-1]


def arrange_loosely(files: Sequence[ScannedFile], layout: Layout | None) -> list[PlannedGroup]:
    """Do as :func:`arrange` does, for a build that was made before ``layout`` was written.

    A group that no file belongs to is left out, and nothing is strict.
    """
    if layout is None:
        return arrange(files, None)
    return [group for group in _grouped(files, layout) if group.files]


def _grouped(files: Sequence[ScannedFile], layout: Layout) -> list[PlannedGroup]:
    """Return all groups of ``layout``, and last what no pattern matches, empty or not."""
    places = _places(layout)
    buckets: list[list[ScannedFile]] = [[] for _ in places]
    rest: list[ScannedFile] = []
    for file in files:
        place = _first_match(places, file)
        (rest if place is None else buckets[place]).append(file)
    groups: list[PlannedGroup] = []
    for index, group in enumerate(layout.group):
        chosen = (b for b, (owner, _) in zip(buckets, places, strict=True) if owner == index)
        groups.append(PlannedGroup(group.name, tuple(file for bucket in chosen for file in bucket)))
    return [*groups, PlannedGroup(REST_GROUP, tuple(rest))]


def _places(layout: Layout) -> list[_Place]:
    """Return every pattern in order, with the index of its group."""
    names = [group.name for group in layout.group]
    if REST_GROUP in names:
        raise InvalidInput(f"group {REST_GROUP!r} is kept for what no pattern matches")
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"two groups are named {name!r}")
    return [
        (index, _compiled(group.name, line))
        for index, group in enumerate(layout.group)
        for line in group.files
    ]


def _compiled(group: str, line: str) -> Pattern:
    try:
        (pattern,) = GitIgnoreSpec.from_lines([line]).patterns
    except ValueError as error:
        raise InvalidInput(f"group {group}: {error}") from error
    if not pattern.include:
        raise InvalidInput(f"group {group}: {line!r} names no files ('!' has no meaning here)")
    return pattern


def _first_match(places: Sequence[_Place], file: ScannedFile) -> int | None:
    path = file.entry.path
    if file.entry.kind is EntryKind.DIRECTORY:
        path += "/"
    for index, (_, pattern) in enumerate(places):
        if pattern.match_file(path) is not None:
            return index
    return None


def _check(groups: Iterable[PlannedGroup], unplaced: Sequence[ScannedFile]) -> None:
    problems = Problems("this layout of the build")
    for group in groups:
        if not group.files:
            problems.add(f"group {group.name!r} is empty: none of its patterns matches a file")
    for file in unplaced:
        problems.add(f"{file.entry.path!r} is in no group, and the layout is strict")
    problems.raise_any()
