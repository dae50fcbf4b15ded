"""Why a patch is big: the causes by code, in words, and what a game's developers can do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import msgspec

PATHS_SHOWN_MAX = 50
"""Named in a finding, the costliest first; the files of a report say the rest."""


class Cause(Enum):
    """Why bytes must be downloaded; the values are stable."""

    SHIFTED = "shifted-by-its-front"
    RECOMPRESSED = "recompressed"
    OPAQUE = "opaque"
    STAMPS = "build-stamps"
    REBUILT = "rebuilt-program"
    RENAMED = "renamed"
    CASE = "case-changed"
    REORDERED = "reordered"
    PADDING = "padding"
    TINY_FILES = "tiny-files"
    EDITED = "edited"
    NEW_CONTENT = "new-content"


class Nature(Enum):
    """What a publisher may think of a cause."""

    AVOIDABLE = "avoidable"
    """The players see nothing of it: the way the build is made costs them a download."""
    CONTENT = "content"
    """What the update is for."""
    FREE = "free"
    """It looks like much and costs next to no download."""


class Confidence(Enum):
    """How sure a cause is."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"

    def of(self, cause: str) -> str:
        """Return ``cause`` as a sentence that claims no more than is known."""
        before = {"certain": "", "likely": "looks like ", "possible": "perhaps "}[self.value]
        said = before + cause
        return said[0].upper() + said[1:]


class _Words(NamedTuple):
    title: str
    nature: Nature
    advice: str


_WORDS = {
    Cause.SHIFTED: _Words(
        "a table of contents at the front, behind which everything shifted",
        Nature.AVOIDABLE,
        "Put the table of contents at the end of the file, or give it a fixed size with room to"
        " grow, and pad entries to fixed boundaries. Then what did not change keeps its place, and"
        " a console need not write the file anew.",
    ),
    Cause.RECOMPRESSED: _Words(
        "an archive whose content was compressed again",
        Nature.AVOIDABLE,
        "Do not compress inside archives: every chunk is compressed for the download anyway. A"
        " small edit to compressed data changes all bytes behind it; if you must compress, do so"
        " per member, with one version and one setting of the compressor.",
    ),
    Cause.OPAQUE: _Words(
        "encrypted or compressed data of which every byte changed",
        Nature.AVOIDABLE,
        "If this is encrypted, keep key and nonce per member the same as long as its content is,"
        " or leave encryption to the platform. If it is compressed, ship it uncompressed. If it"
        " truly is all new, there is nothing to do.",
    ),
    Cause.STAMPS: _Words(
        "a date, version or build id written into every file",
        Nature.AVOIDABLE,
        "Set SOURCE_DATE_EPOCH, or tell your tools to leave dates and build ids out, and keep the"
        " version in one small file of its own.",
    ),
    Cause.REBUILT: _Words(
        "a program that was built anew, so that addresses shifted all over it",
        Nature.AVOIDABLE,
        "Build reproducibly: the same compiler and flags, incremental linking off, a fixed order of"
        " symbols and functions, -Wl,--build-id=none or /Brepro. Ship debug symbols apart, and"
        " leave libraries that did not change out of the rebuild.",
    ),
    Cause.RENAMED: _Words(
        "files that were only renamed or moved",
        Nature.FREE,
        "Nothing to do: a console copies the bytes it has. It does write them anew, so do not move"
        " large files without need.",
    ),
    Cause.CASE: _Words(
        "files whose names differ in upper and lower case only",
        Nature.FREE,
        "Fix the spelling in your asset pipeline. It costs no download, but a name that changes"
        " with the machine that builds will break a case-sensitive console.",
    ),
    Cause.REORDERED: _Words(
        "members of a pack file in another order",
        Nature.AVOIDABLE,
        "Write members in a stable order: sorted by name, or in the order of the last build with"
        " new members at the end.",
    ),
    Cause.PADDING: _Words(
        "other padding or alignment between the same content",
        Nature.AVOIDABLE,
        "Keep the alignment of members the same from build to build, and fill with zeros.",
    ),
    Cause.TINY_FILES: _Words(
        "small files that did not change, stored together with some that did",
        Nature.AVOIDABLE,
        "Keep small files that change in every build together, in a folder or an install group of"
        " their own: neighbours in play order share chunks.",
    ),
    Cause.EDITED: _Words(
        "files that were edited in places",
        Nature.CONTENT,
        "Nothing to do: this is about what the edits cost.",
    ),
    Cause.NEW_CONTENT: _Words(
        "new content",
        Nature.CONTENT,
        "Nothing to do if you meant to ship it. Look for what players do not need: debug symbols,"
        " logs, sources, test levels.",
    ),
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One cause and the files it explains; sizes in bytes."""

    cause: Cause
    nature: Nature
    confidence: Confidence
    """How sure this is of at least half of what it costs."""
    title: str
    """The cause in words, with how sure it is."""
    advice: str
    evidence: str
    """What was seen, of the costliest file."""
    file_count: int
    paths: tuple[str, ...]
    """Up to fifty, the costliest first."""
    download_size: int
    """What a console downloads for it."""
    moved_size: int
    """What a console has already but must write to another place."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a file costs what it costs, or a part of that; sizes in bytes."""

    path: str
    cause: Cause
    confidence: Confidence
    download_size: int
    evidence: str
    moved_size: int = 0


def nature_of(cause: Cause) -> Nature:
    """Return what a publisher may think of ``cause``."""
    return _WORDS[cause].nature


def findings_of(verdicts: Sequence[Verdict]) -> list[Finding]:
    """Put verdicts of one cause together; the findings that cost the most download come first."""
    by_cause: defaultdict[Cause, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_cause[verdict.cause].append(verdict)
    found = [_finding(cause, of_cause) for cause, of_cause in by_cause.items()]
    return sorted(found, key=lambda finding: (-finding.download_size, -finding.moved_size))


def _finding(cause: Cause, verdicts: list[Verdict]) -> Finding:
    verdicts.sort(key=lambda verdict: (-verdict.download_size, -verdict.moved_size))
    confidence = _middle(verdicts)
    words = _WORDS[cause]
    return Finding(
        cause=cause,
        nature=words.nature,
        confidence=confidence,
        title=confidence.of(words.title),
        advice=words.advice,
        evidence=verdicts[0].evidence,
        file_count=len(verdicts),
        paths=tuple(verdict.path for verdict in verdicts[:PATHS_SHOWN_MAX]),
        download_size=sum(verdict.download_size for verdict in verdicts),
        moved_size=sum(verdict.moved_size for verdict in verdicts),
    )


def _middle(verdicts: Sequence[Verdict]) -> Confidence:
    """Return the confidence that at least half of the bytes have; one each if all cost nothing."""
    weights = [verdict.download_size + 1 for verdict in verdicts]
    seen = 0
    for confidence in Confidence:
        seen += sum(
            weight
            for weight, verdict in zip(weights, verdicts, strict=True)
            if verdict.confidence is confidence
        )
        if 2 * seen >= sum(weights):
            return confidence
    raise AssertionError("every verdict has a confidence")
