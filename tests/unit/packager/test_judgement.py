"""Every cause is found in a build that has it, and not in one that does not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from manifests.changes import Change
from packager.causes import Cause, Confidence, Nature
from packager.comparison import Comparison, FileComparison, Span, SpanKind
from packager.judgement import judge
from packager.samples import Samples
from tests.patches import (
    causes,
    explained,
    finding,
    machine_code,
    members,
    noise,
    prose,
    table_of,
)


def test_table_at_the_front_of_a_pack_is_found(tmp_path: Path) -> None:
    parts = members(900, 6_000, 1)
    grown = [parts[0] + b"a few more words", *parts[1:]]
    report = explained(
        tmp_path,
        {"data.pak": table_of(parts) + b"".join(parts)},
        {"data.pak": table_of(grown) + b"".join(grown)},
    )
    found = finding(report, Cause.SHIFTED)
    assert found.confidence is Confidence.LIKELY
    assert found.paths == ("data.pak",)
    assert found.moved_size > 4_000_000
    assert 0 < found.download_size <= report.sizes.download
    assert found.title.startswith("Looks like a table of contents")


def test_table_at_the_end_of_a_pack_is_no_cause(tmp_path: Path) -> None:
    parts = members(900, 6_000, 1)
    grown = [*parts[:-1], parts[-1] + b"a few more words"]
    report = explained(
        tmp_path,
        {"data.pak": b"".join(parts) + table_of(parts)},
        {"data.pak": b"".join(grown) + table_of(grown)},
    )
    assert causes(report) == {Cause.EDITED}


def test_text_that_grew_at_its_front_has_no_table(tmp_path: Path) -> None:
    text = prose(3_000_000, 1)
    report = explained(tmp_path, {"a.log": text}, {"a.log": b"A new line.\n" + text})
    assert causes(report) == {Cause.EDITED}
    assert report.sizes.moved > 2_000_000


def deflated(level: int) -> Callable[[bytes], bytes]:
    return lambda data: gzip.compress(data, level, mtime=0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (deflated(1), deflated(9)),
        (lambda d: zlib.compress(d, 1), lambda d: zlib.compress(d, 9)),
        (
            lambda d: zstandard.ZstdCompressor(level=1).compress(d),
            lambda d: zstandard.ZstdCompressor(level=12).compress(d),
        ),
        (lambda d: lzma.compress(d, preset=0), lambda d: lzma.compress(d, preset=6)),
        (lambda d: bz2.compress(d, 1), lambda d: bz2.compress(d, 9)),
    ],
    ids=["gzip", "zlib", "zstd", "xz", "bzip2"],
)
def test_same_content_compressed_otherwise_is_found(
    tmp_path: Path, before: Callable[[bytes], bytes], after: Callable[[bytes], bytes]
) -> None:
    content = prose(1_500_000, 2)
    report = explained(tmp_path, {"a.bin": before(content)}, {"a.bin": after(content)})
    assert causes(report) == {Cause.RECOMPRESSED}
    assert finding(report, Cause.RECOMPRESSED).confidence is Confidence.LIKELY


def test_small_edit_before_compression_is_found(tmp_path: Path) -> None:
    content = prose(3_000_000, 2)
    report = explained(
        tmp_path,
        {"a.gz": gzip.compress(content)},
        {"a.gz": gzip.compress(b"one edit" + content)},
    )
    assert causes(report) == {Cause.RECOMPRESSED}


def test_compressed_file_of_other_content_is_new_content(tmp_path: Path) -> None:
    report = explained(
        tmp_path,
        {"a.gz": gzip.compress(noise(800_000, 1))},
        {"a.gz": gzip.compress(noise(800_000, 2))},
    )
    assert causes(report) == {Cause.NEW_CONTENT}


def zipped(parts: list[bytes], level: int, year: int = 2020) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for number, part in enumerate(parts):
            info = zipfile.ZipInfo(f"level{number}.map", (year, 1, 1, 0, 0, 0))
            archive.writestr(info, part, zipfile.ZIP_DEFLATED, level)
    return made.getvalue()


def test_zip_whose_members_are_the_same_but_packed_otherwise_is_certain(tmp_path: Path) -> None:
    parts = members(60, 30_000, 3)
    report = explained(tmp_path, {"a.zip": zipped(parts, 1)}, {"a.zip": zipped(parts, 9)})
    found = finding(report, Cause.RECOMPRESSED)
    assert (causes(report), found.confidence) == ({Cause.RECOMPRESSED}, Confidence.CERTAIN)
    assert "60 of 60 members" in found.evidence


def test_zip_whose_members_only_bear_another_date_is_stamped(tmp_path: Path) -> None:
    parts = members(60, 30_000, 3)
    old, new = zipped(parts, 6, year=2024), zipped(parts, 6, year=2025)
    found = finding(explained(tmp_path, {"a.zip": old}, {"a.zip": new}), Cause.STAMPS)
    assert found.confidence is Confidence.CERTAIN
    assert "60 of 60 members" in found.evidence


def test_zip_that_gained_a_member_was_not_recompressed(tmp_path: Path) -> None:
    parts = members(60, 30_000, 3)
    new = zipped([*parts, prose(90_000, 9)], 6)
    report = explained(tmp_path, {"a.zip": zipped(parts, 6)}, {"a.zip": new})
    assert causes(report) == {Cause.EDITED}


def test_data_encrypted_anew_is_found(tmp_path: Path) -> None:
    report = explained(tmp_path, {"a.dat": noise(2_000_000, 1)}, {"a.dat": noise(2_000_000, 2)})
    found = finding(report, Cause.OPAQUE)
    assert (causes(report), found.confidence) == ({Cause.OPAQUE}, Confidence.LIKELY)


def test_data_of_another_size_may_be_new(tmp_path: Path) -> None:
    report = explained(tmp_path, {"a.dat": noise(2_000_000, 1)}, {"a.dat": noise(2_100_000, 2)})
    assert finding(report, Cause.OPAQUE).confidence is Confidence.POSSIBLE


def test_noise_that_was_edited_in_a_place_was_not_encrypted_anew(tmp_path: Path) -> None:
    data = noise(2_000_000, 1)
    edited = data[:1_000_000] + noise(5_000, 2) + data[1_005_000:]
    report = explained(tmp_path, {"a.dat": data}, {"a.dat": edited})
    assert causes(report) == {Cause.EDITED}


def stamped(count: int, stamp: Callable[[int], tuple[int, bytes]]) -> dict[str, bytes]:
    files = {}
    for number in range(count):
        content = bytearray(prose(20_000 + 3_000 * number, 100 + number))
        at, text = stamp(number)
        content[at : at + len(text)] = text
        files[f"mesh{number:02}.bin"] = bytes(content)
    return files


def test_date_in_the_head_of_every_file_is_found(tmp_path: Path) -> None:
    old = stamped(12, lambda _: (16, b"2026-01-01"))
    new = stamped(12, lambda _: (16, b"2026-02-09"))
    found = finding(explained(tmp_path, old, new), Cause.STAMPS)
    assert (found.file_count, found.confidence) == (12, Confidence.LIKELY)
    assert "start" in found.evidence


def test_build_id_at_the_end_of_every_file_is_found(tmp_path: Path) -> None:
    old = stamped(12, lambda n: (20_000 + 3_000 * n - 40, noise(20, n)))
    new = stamped(12, lambda n: (20_000 + 3_000 * n - 40, noise(20, 50 + n)))
    found = finding(explained(tmp_path, old, new), Cause.STAMPS)
    assert found.file_count == 12
    assert "end" in found.evidence


def test_version_somewhere_in_every_file_is_found(tmp_path: Path) -> None:
    old = stamped(12, lambda n: (700 * n + n * n, b"v1.2.3"))
    new = stamped(12, lambda n: (700 * n + n * n, b"v1.2.9"))
    assert finding(explained(tmp_path, old, new), Cause.STAMPS).file_count == 12


def test_edits_of_many_files_in_different_places_are_no_stamps(tmp_path: Path) -> None:
    old = stamped(12, lambda n: (700 * n + n * n, noise(6, n)))
    new = stamped(12, lambda n: (700 * n + n * n, noise(6, 50 + n)))
    assert causes(explained(tmp_path, old, new)) == {Cause.EDITED}


def test_the_same_edit_of_a_few_files_is_no_stamp(tmp_path: Path) -> None:
    old = stamped(12, lambda _: (16, b"2026-01-01"))
    new = old | stamped(3, lambda _: (16, b"2026-02-09"))
    assert Cause.STAMPS not in causes(explained(tmp_path, old, new))


@pytest.mark.parametrize("magic", [b"\x7fELF", b"MZ\x90\0", b"\xcf\xfa\xed\xfe", b"\0asm"])
def test_program_that_was_built_anew_is_found(tmp_path: Path, magic: bytes) -> None:
    old, new = (magic + machine_code(1_500_000, 1, base) for base in (0x400000, 0x400040))
    report = explained(tmp_path, {"game": old}, {"game": new})
    found = finding(report, Cause.REBUILT)
    assert (causes(report), found.confidence) == ({Cause.REBUILT}, Confidence.LIKELY)


def test_another_program_in_its_place_is_only_perhaps_rebuilt(tmp_path: Path) -> None:
    old, new = (b"\x7fELF" + machine_code(900_000, seed, 0x400000) for seed in (1, 2))
    report = explained(tmp_path, {"game": old}, {"game": new})
    assert finding(report, Cause.REBUILT).confidence is Confidence.POSSIBLE


def test_program_with_one_patched_place_was_not_built_anew(tmp_path: Path) -> None:
    code = b"\x7fELF" + machine_code(3_000_000, 1, 0x400000)
    patched = code[:1_500_000] + noise(200, 3) + code[1_500_200:]
    assert causes(explained(tmp_path, {"game": code}, {"game": patched})) == {Cause.EDITED}


def test_renamed_and_moved_files_cost_nothing_and_are_named(tmp_path: Path) -> None:
    level = noise(900_000, 1)
    report = explained(
        tmp_path,
        {"levels/one.map": level, "kept.bin": noise(90_000, 2)},
        {"maps/first.map": level, "kept.bin": noise(90_000, 2)},
    )
    found = finding(report, Cause.RENAMED)
    assert (causes(report), found.nature) == ({Cause.RENAMED}, Nature.FREE)
    assert (found.download_size, found.moved_size) == (0, 900_000)
    assert "levels/one.map" in found.evidence
    assert report.files[0].change == "renamed"


def test_small_renamed_files_are_told_by_their_bytes(tmp_path: Path) -> None:
    old = {f"text/{n:02}.txt": prose(2_000 + n, n) for n in range(20)}
    new = {path.replace("/07", "/zz"): content for path, content in old.items()}
    report = explained(tmp_path, old, new)
    assert finding(report, Cause.RENAMED).paths == ("text/zz.txt",)


def test_name_in_another_case_is_found(tmp_path: Path) -> None:
    level = noise(300_000, 1)
    report = explained(tmp_path, {"Maps/One.map": level}, {"maps/one.map": level})
    assert causes(report) == {Cause.CASE}


def test_copied_file_is_moved_not_renamed_away(tmp_path: Path) -> None:
    level = noise(300_000, 1)
    report = explained(tmp_path, {"one.map": level}, {"one.map": level, "two.map": level})
    found = finding(report, Cause.RENAMED)
    assert (found.paths, found.download_size) == (("two.map",), 0)
    assert "copy" in found.evidence


def test_file_that_holds_what_another_did_costs_nothing(tmp_path: Path) -> None:
    one, two = noise(300_000, 1), noise(310_000, 2)
    report = explained(tmp_path, {"a": one, "b": two}, {"a": two, "b": one})
    found = finding(report, Cause.RENAMED)
    assert (causes(report), found.file_count) == ({Cause.RENAMED}, 2)
    assert "a holds what was in b" in found.evidence or "b holds what was in a" in found.evidence


def test_renamed_and_edited_file_costs_its_edits(tmp_path: Path) -> None:
    level = noise(3_000_000, 1)
    edited = level[:1_500_000] + noise(900, 2) + level[1_500_900:]
    report = explained(tmp_path, {"one.map": level}, {"first.map": edited})
    assert causes(report) == {Cause.RENAMED, Cause.EDITED}
    assert finding(report, Cause.RENAMED).download_size == 0
    assert sum(found.moved_size for found in report.findings) == report.sizes.moved


def shuffled(parts: list[bytes], seed: int) -> list[bytes]:
    return random.Random(seed).sample(parts, len(parts))


def test_large_members_in_another_order_are_found(tmp_path: Path) -> None:
    parts = [noise(700_000, seed) for seed in range(14)]
    report = explained(
        tmp_path,
        {"a.pak": b"".join(parts)},
        {"a.pak": b"".join(shuffled(parts, 1))},
    )
    found = finding(report, Cause.REORDERED)
    assert causes(report) == {Cause.REORDERED}
    assert found.moved_size > 3_000_000


def test_small_members_in_another_order_are_found(tmp_path: Path) -> None:
    parts = members(20, 6_000, 4)
    report = explained(
        tmp_path, {"a.pak": b"".join(parts)}, {"a.pak": b"".join(shuffled(parts, 1))}
    )
    assert causes(report) == {Cause.REORDERED}


def test_members_that_change_places_cost_nothing(tmp_path: Path) -> None:
    """The cut begins anew in the longest of them, so that both keep chunks of their own."""
    one, two = noise(9_000_000, 1), noise(9_000_000, 2)
    report = explained(tmp_path, {"a.pak": one + two}, {"a.pak": two + one})
    assert Cause.SHIFTED not in causes(report)
    assert report.sizes.moved > 15_000_000


def test_bytes_taken_out_at_a_border_cost_nothing(tmp_path: Path) -> None:
    zeros = bytes(3 << 20)
    report = explained(
        tmp_path,
        {"a.pak": zeros + noise(400_000, 1)},
        {"a.pak": zeros[: 2 << 20] + noise(400_000, 1)},
    )
    [found] = report.findings
    assert (found.cause, found.download_size) == (Cause.EDITED, 0)
    assert "taken out" in found.evidence


def test_dropped_and_edited_members_are_in_the_same_order(tmp_path: Path) -> None:
    parts = members(400, 6_000, 4)
    kept = [part for number, part in enumerate(parts) if number % 17]
    kept[5] = kept[5][:900] + b"an edit" + kept[5][1000:]
    report = explained(tmp_path, {"a.pak": b"".join(parts)}, {"a.pak": b"".join(kept)})
    assert causes(report) == {Cause.EDITED}


def padded(parts: list[bytes], alignment: int) -> bytes:
    return b"".join(part + bytes(-len(part) % alignment) for part in parts)


def test_another_alignment_is_found(tmp_path: Path) -> None:
    parts = members(300, 6_000, 5)
    report = explained(tmp_path, {"a.pak": padded(parts, 16)}, {"a.pak": padded(parts, 2048)})
    found = finding(report, Cause.PADDING)
    assert (causes(report), found.confidence) == ({Cause.PADDING}, Confidence.LIKELY)


def test_edits_between_aligned_members_are_no_other_alignment(tmp_path: Path) -> None:
    parts = members(300, 6_000, 5)
    edited = [part[:500] + b"edited" + part[700:] for part in parts]
    report = explained(tmp_path, {"a.pak": padded(parts, 16)}, {"a.pak": padded(edited, 16)})
    assert Cause.PADDING not in causes(report)


def test_small_files_that_share_chunks_with_a_changed_one_are_carried(tmp_path: Path) -> None:
    old = {f"text/{n:03}.txt": prose(900 + n, n) for n in range(150)}
    report = explained(tmp_path, old, old | {"text/070.txt": prose(4_000, 999)})
    found = finding(report, Cause.TINY_FILES)
    assert found.confidence is Confidence.CERTAIN
    changes = {file.path: file.change for file in report.files}
    assert changes.pop("text/070.txt") == "changed"
    assert set(changes.values()) == {"carried"}
    assert found.file_count == len(changes)


def test_new_file_is_new_content(tmp_path: Path) -> None:
    old = {"a": noise(300_000, 1)}
    report = explained(tmp_path, old, old | {"b": noise(200_000, 2)})
    found = finding(report, Cause.NEW_CONTENT)
    assert (causes(report), found.confidence) == ({Cause.NEW_CONTENT}, Confidence.CERTAIN)
    assert found.download_size == report.sizes.download == report.sizes.new == 200_000


@pytest.mark.parametrize("head", [b"\x89PNG\r\n\x1a\n", b"OggS\0\x02", b"RIFF\0\0\0\0WAVE"])
def test_picture_or_sound_that_was_made_anew_is_new_content(tmp_path: Path, head: bytes) -> None:
    old, new = (head + noise(400_000, seed) for seed in (1, 2))
    assert causes(explained(tmp_path, {"a": old}, {"a": new})) == {Cause.NEW_CONTENT}


def test_text_that_was_written_anew_is_new_content(tmp_path: Path) -> None:
    report = explained(tmp_path, {"a": prose(400_000, 1)}, {"a": prose(300_000, 2)})
    assert causes(report) == {Cause.NEW_CONTENT}


def test_ordinary_update_raises_no_alarm(tmp_path: Path) -> None:
    """Edits in the middle, a grown file, a new one and a dropped one; nobody did wrong."""
    world, texts = noise(4_000_000, 1), prose(2_000_000, 2)
    old = {"world.pak": world, "texts.db": texts, "gone.map": noise(200_000, 3)}
    new = {
        "world.pak": world[:1_000_000] + noise(3_000, 4) + world[1_002_000:],
        "texts.db": texts + prose(50_000, 5),
        "fresh.map": noise(300_000, 6),
    }
    report = explained(tmp_path, old, new)
    assert causes(report) == {Cause.EDITED, Cause.NEW_CONTENT}
    assert all(found.nature is Nature.CONTENT for found in report.findings)
    assert [gone.path for gone in report.removed] == ["gone.map"]


def test_same_build_has_nothing_to_explain(tmp_path: Path) -> None:
    files = {"a": noise(300_000, 1), "b": b"", "c": prose(500, 2)}
    report = explained(tmp_path, files, files)
    assert (report.findings, report.files, report.update.size) == ((), (), 0)


def test_empty_files_come_and_go_without_a_cause(tmp_path: Path) -> None:
    report = explained(tmp_path, {"a": b"", "k": b"k"}, {"b": b"", "k": b"k"})
    assert report.findings == ()


class Unread:
    """A build whose bytes nobody may read."""

    def read(self, path: str, start: int, size: int) -> bytes:
        raise AssertionError(f"{path} was read")


def compared(path: str, kind: SpanKind, size: int, download_size: int) -> FileComparison:
    return FileComparison(
        path=path,
        group="game",
        change=Change.CHANGED,
        old_path=path,
        old_size=size,
        size=size,
        spans=(Span(0, size, kind, path),),
        download_size=download_size,
    )


def test_spent_budget_leaves_files_unread_and_says_so() -> None:
    files = (compared("a", SpanKind.CHANGED, 900_000, 500), compared("b", SpanKind.CHANGED, 5, 3))
    found = judge(Comparison((), files, ()), Samples(Unread(), Unread(), left_size=0))
    assert found.unread == {"a", "b"}
    assert sum(verdict.download_size for verdict in found.verdicts) == 503
    assert {verdict.confidence for verdict in found.verdicts} == {Confidence.POSSIBLE}


class Served:
    """A file of any size made of nothing, that counts what is asked of it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.largest = 0
        self.total = 0

    def read(self, path: str, start: int, size: int) -> bytes:
        self.largest, self.total = max(self.largest, size), self.total + size
        return noise(size, self._seed)


def test_file_of_any_size_is_judged_from_a_few_windows() -> None:
    old, new = Served(1), Served(2)
    huge = compared("a", SpanKind.CHANGED, 60 << 30, 50 << 30)
    found = judge(Comparison((), (huge,), ()), Samples(old, new, left_size=1 << 30))
    assert [verdict.cause for verdict in found.verdicts] == [Cause.OPAQUE]
    assert max(old.largest, new.largest) <= 1 << 20
    assert old.total + new.total <= 4 << 20
