"""Judge why each file of a comparison costs what it costs, from its spans and a few of its bytes.

1. Files that are all small and lie in chunks with others are read whole: do they differ at all?
2. Files of equal size that differ in a few short places are put together by those places: the
   same place, or the same bytes, in many files is a stamp.
3. Every other file is judged on its own, the costliest first, until the budget is spent.

Whatever a file costs is said by its verdicts, to the byte: they add up to the whole download.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import fmean

from chunks.chunk_id import digest_of
from chunks.chunker import starts_segment
from manifests.changes import Change
from packager.archives import compare_zips, opened, zip_members
from packager.causes import Cause, Confidence, Verdict
from packager.comparison import Comparison, FileComparison, Span, SpanKind
from packager.formats import ZIP, FileFormat, FileKind, format_of
from packager.likeness import alternations, differences, entropy_bits, likeness, steps
from packager.samples import Samples, WindowPair

STAMPED_COUNT_MIN = 5
"""Fewer files with a change in the same place are a coincidence, or an edit of a few."""

STAMP_SIZE_MAX = 64
"""A date, a version, a build id or a digest, in text or not."""

STAMPS_PER_FILE_MAX = 8

STAMPED_READ_MAX = 2 << 20
"""A short stamp makes a console fetch a chunk, or two when it lies on a border."""

NOISE_BITS = 7.9
"""256 KiB of noise have 7.999; text, code and plain assets seldom reach 7."""

NOISE_SIZE_MIN = 16 << 10
"""A shorter sample of noise has less, by accident."""

PACK_SIZE_MIN = 1 << 20
"""A smaller file cannot shift much."""

TABLE_ROWS_MIN = 32
"""Numbers that changed between names that did not; a paragraph put in front has one or two."""

_MARKS = {
    "at": "a few bytes that changed, at the same distance from the start of each",
    "end": "a few bytes that changed, at the same distance from the end of each",
    "which": "the same few bytes, which were replaced by the same others in each",
}

UNLIKE = 0.02
"""Below this two stretches have no more in common than any two of their kind."""


@dataclass(slots=True)
class Judgement:
    """What was found."""

    verdicts: list[Verdict] = field(default_factory=list)
    carried: set[str] = field(default_factory=set)
    """Files that are downloaded although no byte of them changed."""
    unread: set[str] = field(default_factory=set)
    """Files judged by their chunks alone, as the budget was spent."""


@dataclass(frozen=True, slots=True)
class _Stamped:
    """A file and the places in which it differs: their marks are equal where stamps are."""

    file: FileComparison
    marks: frozenset[tuple[str, object]]


@dataclass(frozen=True, slots=True)
class _Looks:
    """What a few windows of a file say."""

    form: FileFormat | None
    windows: Sequence[WindowPair]
    likeness: float
    entropy: float
    is_noise: bool


def judge(comparison: Comparison, samples: Samples) -> Judgement:
    """Return verdicts on all files that cost a download or were moved.

    Raises:
        PlayheadError: A file is gone, or the storage did not answer.
    """
    found = Judgement()
    costly = sorted(comparison.files, key=lambda file: -file.download_size)
    removed: defaultdict[int, list[str]] = defaultdict(list)
    for gone in comparison.removed:
        removed[gone.size].append(gone.path)
    stamped: list[_Stamped] = []
    left: list[FileComparison] = []
    for file in costly:
        if _is_whole_copy(file):
            found.verdicts += _renamed(file)
        elif samples.is_spent or file.download_size == 0:
            left.append(file)
        elif _is_small(file) and (origin := _same_bytes(file, removed, samples)) is not None:
            found.verdicts.append(_same_verdict(file, origin))
            if origin == file.path:
                found.carried.add(file.path)
        elif (stamp := _stamp_of(file, samples)) is not None:
            stamped.append(stamp)
        else:
            left.append(file)
    found.verdicts += _stamps(stamped, left)
    for file in sorted(left, key=lambda file: -file.download_size):
        if samples.is_spent and file.download_size:
            found.unread.add(file.path)
        found.verdicts += _verdicts_on(file, samples)
    return found


def _is_small(file: FileComparison) -> bool:
    return not starts_segment(file.size)


def _is_whole_copy(file: FileComparison) -> bool:
    return (
        file.change is Change.ADDED
        and file.size > 0
        and all(span.kind is SpanKind.MOVED for span in file.spans)
    )


def _renamed(file: FileComparison) -> Iterator[Verdict]:
    """Yield that an added file is one that was there under another name."""
    if not file.old_path:  # a copy: the other is still there
        yield Verdict(
            file.path,
            Cause.RENAMED,
            Confidence.CERTAIN,
            file.download_size,
            f"{file.path} is a copy of what the older build holds elsewhere",
            file.size,
        )
        return
    yield _name_verdict(file.path, file.old_path, file)


def _name_verdict(path: str, old_path: str, file: FileComparison) -> Verdict:
    cause = Cause.CASE if path.casefold() == old_path.casefold() else Cause.RENAMED
    return Verdict(
        path,
        cause,
        Confidence.CERTAIN,
        file.download_size,
        f"{path} was {old_path}",
        file.sizes.moved,
    )


def _same_bytes(
    file: FileComparison, removed: dict[int, list[str]], samples: Samples
) -> str | None:
    """Return the path that had exactly these bytes: the same, or one that is gone."""
    if file.change is Change.ADDED:
        paths = removed.get(file.size, [])[:STAMPS_PER_FILE_MAX]
    else:
        paths = [file.old_path] if file.old_size == file.size else []
    if not paths or not file.size:
        return None
    digest = digest_of(samples.read_new(file.path, 0, file.size))
    for path in paths:
        if digest_of(samples.read_old(path, 0, file.size)) == digest:
            return path
    return None


def _same_verdict(file: FileComparison, origin: str) -> Verdict:
    if origin != file.path:
        return _name_verdict(file.path, origin, file)
    return Verdict(
        file.path,
        Cause.TINY_FILES,
        Confidence.CERTAIN,
        file.download_size,
        f"{file.path} has the same bytes as before, in a chunk with a neighbour that changed",
    )


def _stamp_of(file: FileComparison, samples: Samples) -> _Stamped | None:
    """Return how a file differs from one of the same size, if only in a few short places."""
    spans = file.downloaded_spans
    if file.old_size != file.size or sum(span.size for span in spans) > STAMPED_READ_MAX:
        return None
    marks: set[tuple[str, object]] = set()
    count = 0
    for span in spans:
        pair = samples.pair(file, span.start, span.start, span.size)
        if len(pair.old) != len(pair.new):
            return None
        for start, end in differences(pair.old, pair.new):
            count += 1
            marks.add(("at", span.start + start))
            marks.add(("end", file.size - span.start - start))
            marks.add(("which", (pair.old[start:end], pair.new[start:end])))
            if end - start > STAMP_SIZE_MAX or count > STAMPS_PER_FILE_MAX:
                return None
    return _Stamped(file, frozenset(marks)) if marks else None


def _stamps(stamped: Sequence[_Stamped], left: list[FileComparison]) -> Iterator[Verdict]:
    """Yield verdicts on files that bear the same mark as many others; the rest goes to ``left``."""
    counts = Counter(mark for found in stamped for mark in found.marks)
    for found in stamped:
        mark = max(found.marks, key=lambda mark: (counts[mark], mark[0] != "which"))
        if counts[mark] < STAMPED_COUNT_MIN:
            left.append(found.file)
            continue
        seen = f"{counts[mark]:,} files are as before but for {_MARKS[mark[0]]}"
        yield _verdict(found.file, Cause.STAMPS, Confidence.LIKELY, seen)


def _verdicts_on(file: FileComparison, samples: Samples) -> Iterator[Verdict]:
    if file.old_path and file.change is Change.ADDED and file.sizes.moved:
        # What it was before costs nothing; what was edited besides is judged below.
        name = _name_verdict(file.path, file.old_path, file)
        yield replace(name, confidence=Confidence.LIKELY, download_size=0, moved_size=0)
    if file.download_size:
        yield from _main_verdicts(file, samples)
    elif file.sizes.moved:
        yield _moved_only(file)


def _main_verdicts(file: FileComparison, samples: Samples) -> list[Verdict]:
    """Return verdicts that add up to what the file costs."""
    if not file.old_path:
        return [_verdict(file, Cause.NEW_CONTENT, Confidence.CERTAIN, "it was not there before")]
    if samples.is_spent:
        return _by_spans(file, None)
    looks = _look(file, samples)
    return _by_bytes(file, looks, samples) or _by_spans(file, looks)


def _look(file: FileComparison, samples: Samples) -> _Looks:
    heads = samples.heads(file, 64)
    forms = format_of(heads.old), format_of(heads.new)
    windows = samples.windows(file)
    long_windows = [pair.new for pair in windows if len(pair.new) >= NOISE_SIZE_MIN]
    bits = [entropy_bits(window) for window in long_windows]
    return _Looks(
        form=forms[1] if forms[0] == forms[1] else None,
        windows=windows,
        likeness=fmean(likeness(pair.old, pair.new) for pair in windows),
        entropy=fmean(bits) if bits else 0.0,
        is_noise=bool(bits) and min(bits) >= NOISE_BITS,
    )


def _by_bytes(file: FileComparison, looks: _Looks, samples: Samples) -> list[Verdict]:
    """Return what the bytes tell; nothing if they leave it to the spans."""
    share = _downloaded_share(file)
    kind = None if looks.form is None else looks.form.kind
    is_like_size = file.old_size / 2 <= file.size <= file.old_size * 2
    if looks.form is not None and kind is FileKind.PROGRAM and share >= 0.25:
        sure = Confidence.LIKELY if looks.likeness > UNLIKE else Confidence.POSSIBLE
        seen = (
            f"{looks.form.name} file; {share:.0%} of its bytes lie in chunks that changed, and"
            f" {looks.likeness:.0%} of those bytes stood near there before"
        )
        return [_verdict(file, Cause.REBUILT, sure, seen)]
    if looks.form == ZIP and share >= 0.3:
        return _of_zip(file, samples)
    if looks.form is not None and kind is FileKind.STREAM and share >= 0.6 and is_like_size:
        return _of_stream(file, looks, samples, looks.form)
    if kind is FileKind.MEDIA and looks.likeness <= UNLIKE and share >= 0.5:
        return [_verdict(file, Cause.NEW_CONTENT, Confidence.LIKELY, "a picture, sound or film")]
    if _is_opaque(file, looks, share):
        is_same_size = file.size == file.old_size
        seen = f"noise, {looks.entropy:.2f} bits in every byte, {share:.0%} of it changed, " + (
            "and the size is the same" if is_same_size else "and the size nearly the same"
        )
        sure = Confidence.LIKELY if is_same_size else Confidence.POSSIBLE
        return [_verdict(file, Cause.OPAQUE, sure, seen)]
    return _by_steps(file, looks)


def _of_zip(file: FileComparison, samples: Samples) -> list[Verdict]:
    before = zip_members(samples.read_old, file.old_path, file.old_size)
    zips = compare_zips(before, zip_members(samples.read_new, file.path, file.size))
    if not zips.member_count or 2 * zips.same_size < zips.size:
        return []
    if zips.same_packed_count == zips.same_count:
        if not zips.redated_count:
            return []
        seen = (
            f"{zips.redated_count:,} of {zips.member_count:,} members of this zip are the same but"
            " bear another date"
        )
        return [_verdict(file, Cause.STAMPS, Confidence.CERTAIN, seen)]
    seen = (
        f"{zips.same_count:,} of {zips.member_count:,} members of this zip hold the same bytes as"
        f" before, but {zips.same_count - zips.same_packed_count:,} of them were compressed to"
        " another size"
    )
    return [_verdict(file, Cause.RECOMPRESSED, Confidence.CERTAIN, seen)]


def _of_stream(
    file: FileComparison, looks: _Looks, samples: Samples, form: FileFormat
) -> list[Verdict]:
    heads = samples.heads(file)
    plain = WindowPair(opened(heads.old, form), opened(heads.new, form))
    if plain.old and plain.new:
        alike = likeness(plain.old, plain.new)
        if alike < UNLIKE:
            return [
                _verdict(file, Cause.NEW_CONTENT, Confidence.LIKELY, f"{form.name}: other content")
            ]
        seen = (
            f"{form.name}: inside, {alike:.0%} of the first {len(plain.new) >> 10} KiB are the"
            " same as before"
        )
        return [_verdict(file, Cause.RECOMPRESSED, Confidence.LIKELY, seen)]
    if looks.likeness > UNLIKE and not looks.is_noise:
        return []
    seen = f"{form.name} file, of which {_downloaded_share(file):.0%} changed"
    return [_verdict(file, Cause.RECOMPRESSED, Confidence.POSSIBLE, seen)]


def _is_opaque(file: FileComparison, looks: _Looks, share: float) -> bool:
    return (
        looks.is_noise
        and looks.likeness <= UNLIKE
        and share >= 0.9
        and 0.8 * file.old_size <= file.size <= 1.25 * file.old_size
    )


def _by_steps(file: FileComparison, looks: _Looks) -> list[Verdict]:
    """Return what the shifts within windows tell: padding, or another order of small members."""
    found = [step for pair in looks.windows for step in steps(pair.old, pair.new)]
    if len(found) < 3 or looks.likeness < 0.5 or _downloaded_share(file) < 0.2:
        return []
    filling_count = sum(step.is_filling for step in found)
    if filling_count >= 0.7 * len(found):
        seen = f"the content is the same, but {filling_count} fillings between it changed in length"
        return [_verdict(file, Cause.PADDING, Confidence.LIKELY, seen)]
    if sum(step.is_backward for step in found) >= 0.2 * len(found):
        seen = f"{looks.likeness:.0%} of the bytes stood nearby before, in another order"
        return [_verdict(file, Cause.REORDERED, Confidence.LIKELY, seen)]
    return []


def _by_spans(file: FileComparison, looks: _Looks | None) -> list[Verdict]:
    """Return what the order of chunks tells."""
    within = _within(file)
    backward = _backward_count(within)
    share = _downloaded_share(file)
    if file.sizes.moved >= 0.3 * file.size and backward >= 3 and 5 * backward >= len(within):
        seen = f"{len(within)} stretches of it were there before, {backward} of them further behind"
        return [_verdict(file, Cause.REORDERED, Confidence.LIKELY, seen)]
    if looks is not None and looks.likeness <= 2 * UNLIKE and share >= 0.5:
        seen = f"{share:.0%} of it changed, and nothing of that is like what stood there before"
        return [_verdict(file, Cause.NEW_CONTENT, Confidence.LIKELY, seen)]
    is_table = looks is None or alternations(*_front(looks)) >= TABLE_ROWS_MIN
    if _is_shifted(file, within) and is_table:
        return _shifted(file, within, is_read=looks is not None)
    seen = f"{share:.0%} of it lie in chunks that changed"
    if looks is None:
        return [_verdict(file, Cause.EDITED, Confidence.POSSIBLE, f"{seen} (not looked into)")]
    return [_verdict(file, Cause.EDITED, Confidence.LIKELY, seen)]


def _within(file: FileComparison) -> list[Span]:
    """Return what the older state of the file holds too."""
    kinds = (SpanKind.MOVED, SpanKind.UNCHANGED)
    return [s for s in file.spans if s.kind in kinds and s.old_path == file.old_path]


def _backward_count(within: Sequence[Span]) -> int:
    """Return how many stretches stood before the one that now precedes them."""
    return sum(after.old_start < before.old_start for before, after in pairwise(within))


def _is_shifted(file: FileComparison, within: Sequence[Span]) -> bool:
    shifted = sum(span.size for span in within if span.shift)
    return (
        file.size >= PACK_SIZE_MIN and 4 * shifted >= file.size and file.spans[0].kind.is_downloaded
    )


def _shifted(file: FileComparison, within: Sequence[Span], *, is_read: bool) -> list[Verdict]:
    """Split the cost of a file into that of its front and that of edits behind it."""
    front = 0
    for span in file.spans:
        if not span.kind.is_downloaded:
            break
        front += span.size
    total = sum(span.size for span in file.downloaded_spans)
    cost = file.download_size * front // total
    shifts = sorted({span.shift for span in within if span.shift})
    by = f"{shifts[0]:+,} bytes" if len(shifts) == 1 else f"{len(shifts)} different distances"
    seen = f"its first {front >> 10:,} KiB changed, and what follows is shifted by {by}"
    sure = Confidence.LIKELY if is_read else Confidence.POSSIBLE
    found = [Verdict(file.path, Cause.SHIFTED, sure, cost, seen, file.sizes.moved)]
    if cost < file.download_size:
        rest = f"{total - front:,} bytes behind its front changed"
        found.append(
            Verdict(file.path, Cause.EDITED, Confidence.LIKELY, file.download_size - cost, rest)
        )
    return found


def _front(looks: _Looks) -> tuple[bytes, bytes]:
    return looks.windows[0].old, looks.windows[0].new


def _moved_only(file: FileComparison) -> Verdict:
    """Return why a file that was there costs nothing but was written anew."""
    sources = Counter[str]()
    for span in file.spans:
        if span.kind is SpanKind.MOVED:
            sources[span.old_path] += span.size
    [(source, _)] = sources.most_common(1)
    if source != file.old_path:
        seen = f"{file.path} holds what was in {source}"
        return _verdict(file, Cause.RENAMED, Confidence.CERTAIN, seen)
    if _backward_count(_within(file)):
        seen = f"{file.sizes.moved:,} bytes of it were there before, in another order"
        return _verdict(file, Cause.REORDERED, Confidence.LIKELY, seen)
    seen = f"bytes were taken out, and {file.sizes.moved:,} behind them moved up"
    return _verdict(file, Cause.EDITED, Confidence.LIKELY, seen)


def _verdict(file: FileComparison, cause: Cause, confidence: Confidence, seen: str) -> Verdict:
    return Verdict(file.path, cause, confidence, file.download_size, seen, file.sizes.moved)


def _downloaded_share(file: FileComparison) -> float:
    return (file.sizes.new + file.sizes.changed) / max(file.size, 1)
