"""Which paths and links a build may have: those that mean the same on every console and PC.

Checked when a build is published, when a manifest is read, and so before anything is installed
(``docs/format/manifest.md``, "Entries").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

from kit.errors import InvalidInput

PATH_SIZE_MAX = 1024
PART_SIZE_MAX = 255
STATE_FOLDER = ".playhead"
"""The console keeps its own state here, inside the folder a title is installed in."""

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\\\ud800-\udfff]')
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|\Z)", re.IGNORECASE
)


class PathRules:
    """Checks the entries of one build, one by one and against each other.

    Add every entry, then :meth:`finish`. The first broken rule raises
    :class:`~kit.errors.InvalidInput` that names path and rule.
    """

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._links: dict[str, str] = {}
        """Where each link leads, by its path."""

    def add_file(self, path: str) -> None:
        """Take in a file."""
        _check_path(path)
        self._paths.append(path)

    def add_folder(self, path: str) -> None:
        """Take in an empty folder; others are implied by what they hold."""
        _check_path(path)
        self._paths.append(path)

    def add_link(self, path: str, target: str) -> None:
        """Take in a link."""
        _check_path(path)
        self._links[path] = link_destination(path, target)
        self._paths.append(path)

    def finish(self) -> None:
        """Check what only the whole build can tell: see :meth:`clashes`."""
        for clash in self.clashes():
            raise InvalidInput(clash)

    def clashes(self) -> Iterator[str]:
        """Yield what is wrong between paths: equal ones, one within another, links through links.

        Sorted by folded parts, paths below one folder are neighbours. So to compare neighbours is
        enough, and takes no memory for the folders that paths imply (hostile paths imply 500 each).
        """
        for one, other in pairwise(sorted(self._paths, key=_sort_key)):
            clash = _clash(one, other)
            if clash is not None:
                yield clash
        links = {_sort_key(path) for path in self._links}
        for path, destination in self._links.items():
            for passed in (*_parents(destination), destination):
                if _sort_key(passed) in links:
                    yield f"link {path!r} points through another link, {passed!r}"


def _clash(one: str, other: str) -> str | None:
    """Tell why two neighbours, ``one`` sorted before ``other``, cannot be in one build."""
    for left, right in zip(one.split("/"), other.split("/"), strict=False):
        if left == right:
            continue
        if _folded(left) != _folded(right):
            return None
        return (
            f"{one!r} and {other!r}: {left!r} and {right!r} are one name on systems that ignore "
            "case or Unicode form"
        )
    if one == other:
        return f"{one!r} appears twice"
    return f"{other!r} lies in {one!r}, which is a file, a link or an empty folder"


def link_destination(path: str, target: str) -> str:
    """Return where, from the build's top, a link at ``path`` with ``target`` leads.

    ``..`` may only come first: after a name it would mean the folder above wherever that name
    leads, and if that is a link, this is not the folder it stands in.

    Raises:
        InvalidInput: It leads outside, is absolute, or its text breaks the rules of paths.
    """
    folders = path.split("/")[:-1]
    if not target or target.startswith("/"):
        raise InvalidInput(f"link {path!r} points to {target[:200]!r}: a relative path is needed")
    parts = target.split("/")
    up_count = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    if up_count > len(folders):
        raise InvalidInput(f"link {path!r} points outside the build, to {target[:200]!r}")
    destination = "/".join(folders[: len(folders) - up_count] + parts[up_count:])
    if destination:
        _check_path(destination)
    return destination


def _check_path(path: str) -> None:
    broken = _broken_rule(path)
    if broken is not None:
        raise InvalidInput(f"{path[:200]!r} {broken}")


def _broken_rule(path: str) -> str | None:
    if _FORBIDDEN.search(path):
        return 'has a character that some systems cannot keep: a control, or one of <>:"|?*\\'
    if not path.isascii() and unicodedata.normalize("NFC", path) != path:
        return "is not in Unicode form NFC: rename it"
    if len(path.encode()) > PATH_SIZE_MAX:
        return f"has more than {PATH_SIZE_MAX} bytes"
    parts = path.split("/")
    if _folded(parts[0]) == STATE_FOLDER:
        return f"begins with {STATE_FOLDER}, where the console keeps its state"
    return next((broken for part in parts if (broken := _broken_rule_of_part(part))), None)


def _broken_rule_of_part(part: str) -> str | None:
    if part in ("", ".", ".."):
        return "is not a plain relative path: it has an empty, '.' or '..' part"
    if part[-1] in ". ":
        return f"has a part that ends in a dot or a space: {part[:200]!r}"
    if len(part.encode()) > PART_SIZE_MAX:
        return f"has a part of more than {PART_SIZE_MAX} bytes"
    if _DEVICE.match(part):
        return f"has a part that Windows takes for a device: {part!r}"
    return None


def _sort_key(path: str) -> str:
    """Return ``path`` folded; the separator sorts before every character that a name may have."""
    if path.isascii():
        return path.lower().replace("/", "\0")
    # Part by part: compatibility normalisation turns some characters into a text with a slash.
    return "\0".join(_folded(part) for part in path.split("/"))


def _folded(part: str) -> str:
    if part.isascii():
        return part.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", part).casefold())


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
