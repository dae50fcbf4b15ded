"""Which paths and links a build may have: those that mean the same on every console and PC.

Checked when a build is published, when a manifest is read, and so before anything is installed
(``docs/format/manifest.md``, "Entries").
"""

from __future__ import annotations

import re
import unicodedata

from kit.errors import InvalidInput

PATH_SIZE_MAX = 1024
PART_SIZE_MAX = 255
STATE_FOLDER = ".playhead"
"""The console keeps its own state here, inside the folder a title is installed in."""

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\\\ud800-\udfff]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|\Z)", re.IGNORECASE)


class PathRules:
    """Checks the entries of one build, one by one and against each other.

    Add every entry, then :meth:`finish`. The first broken rule raises
    :class:`~kit.errors.InvalidInput` that names path and rule.
    """

    def __init__(self) -> None:
        self._spelling: dict[str, str] = {}
        """Every path and every folder implied by one, by its folded form."""
        self._folders: set[str] = {""}
        self._leaves: set[str] = set()
        self._links: dict[str, str] = {}

    def add_file(self, path: str) -> None:
        """Take in a file."""
        self._add_leaf(path)

    def add_folder(self, path: str) -> None:
        """Take in an empty folder."""
        _check_path(path)
        if path in self._folders:
            raise InvalidInput(f"{path!r} appears twice")
        self._add_folder(path)

    def add_link(self, path: str, target: str) -> None:
        """Take in a link; its target is checked against the other entries by :meth:`finish`."""
        self._add_leaf(path)
        self._links[path] = link_destination(path, target)

    def finish(self) -> None:
        """Check what only the whole build can tell: that no link leads through another."""
        for path, destination in self._links.items():
            for passed in (destination, *_parents(destination)):
                if passed in self._links:
                    raise InvalidInput(f"link {path!r} points through another link, {passed!r}")

    def _add_leaf(self, path: str) -> None:
        _check_path(path)
        if path in self._leaves:
            raise InvalidInput(f"{path!r} appears twice")
        self._add_folder(path.rpartition("/")[0])
        if path in self._folders:
            raise InvalidInput(f"{path!r} is both a folder and a file or link")
        self._claim(path)
        self._leaves.add(path)

    def _add_folder(self, path: str) -> None:
        if path in self._folders:
            return
        self._add_folder(path.rpartition("/")[0])
        if path in self._leaves:
            raise InvalidInput(f"{path!r} is both a folder and a file or link")
        self._claim(path)
        self._folders.add(path)

    def _claim(self, path: str) -> None:
        other = self._spelling.setdefault(_folded(path), path)
        if other != path:
            raise InvalidInput(
                f"{path!r} and {other!r} are one file on systems that ignore case or Unicode form"
            )


def link_destination(path: str, target: str) -> str:
    """Return where, from the build's top, a link at ``path`` with ``target`` leads.

    Raises:
        InvalidInput: It leads outside, is absolute, or its text breaks the rules of paths.
    """
    parts = path.split("/")[:-1]
    if not target or target.startswith("/"):
        raise InvalidInput(f"link {path!r} points to {target!r}: a relative path is needed")
    for part in target.split("/"):
        if part == "..":
            if not parts:
                raise InvalidInput(f"link {path!r} points outside the build, to {target!r}")
            parts.pop()
        else:
            parts.append(part)
    destination = "/".join(parts)
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
    if parts[0].casefold() == STATE_FOLDER:
        return f"begins with {STATE_FOLDER}, where the console keeps its state"
    return next((broken for part in parts if (broken := _broken_rule_of_part(part))), None)


def _broken_rule_of_part(part: str) -> str | None:
    if part in ("", ".", ".."):
        return "is not a plain relative path: it has an empty, '.' or '..' part"
    if part[-1] in ". ":
        return f"has a part that ends in a dot or a space: {part!r}"
    if len(part.encode()) > PART_SIZE_MAX:
        return f"has a part of more than {PART_SIZE_MAX} bytes"
    if _DEVICE.match(part):
        return f"has a part that Windows takes for a device: {part!r}"
    return None


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
