"""Decide which files of a folder are no part of the build: gitignore's patterns, and its rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pathspec import GitIgnoreSpec

from kit.errors import InvalidInput
from manifests.paths import STATE_FOLDER
from packager.text_files import read_text

IGNORE_FILE = ".playheadignore"

_ALWAYS = (f"/{STATE_FOLDER}/", f"/{IGNORE_FILE}")


class IgnoreRules:
    """Patterns in order; the last that matches decides, and ``!`` brings a file back."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        """Compile ``patterns``.

        Raises:
            InvalidInput: One is no pattern.
        """
        try:
            self._spec = GitIgnoreSpec.from_lines([*patterns, *_ALWAYS])
        except ValueError as error:
            raise InvalidInput(f"ignore rules: {error}") from error

    def ignores_file(self, path: str) -> bool:
        """Tell whether the file or link at ``path``, relative to the top, is left out."""
        return self._spec.match_file(path)

    def ignores_folder(self, path: str) -> bool:
        """Tell whether the folder at ``path`` is left out, with all that is in it."""
        return self._spec.match_file(f"{path}/")


def load_ignore_rules(source: Path, patterns: Sequence[str]) -> IgnoreRules:
    """Return the rules of ``source``'s ``.playheadignore``, if any, followed by ``patterns``.

    Raises:
        InvalidInput: The file cannot be read, or a rule is no pattern.
    """
    text = read_text(source / IGNORE_FILE) or ""
    return IgnoreRules([*text.splitlines(), *patterns])
