"""The push journal: whole records come back, and whatever a kill left behind them does not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chunks.bundle import Bundle, BundleWriter
from chunks.chunk_id import digest_of
from packager.journal import PushJournal


def bundle_of(*contents: bytes) -> Bundle:
    writer = BundleWriter(1 << 20)
    for content in contents:
        writer.add(digest_of(content), len(content), content)
    return writer.close()


FIRST, SECOND = bundle_of(b"one", b"two words"), bundle_of(b"three")


def loaded(path: Path) -> list[tuple[bytes, int]]:
    return [(found.bundle_id, found.size) for found in PushJournal(path).load()]


def names_of(*bundles: Bundle) -> list[tuple[bytes, int]]:
    return [(bundle.bundle_id, len(bundle.data)) for bundle in bundles]


def test_bundles_come_back_with_the_places_of_their_chunks(tmp_path: Path) -> None:
    journal = PushJournal(tmp_path / "cache" / "journal")
    journal.append(FIRST)
    journal.append(SECOND)
    found = PushJournal(tmp_path / "cache" / "journal").load()
    assert [bundle.chunks for bundle in found] == [FIRST.chunks, SECOND.chunks]
    assert loaded(tmp_path / "cache" / "journal") == names_of(FIRST, SECOND)


def test_every_torn_tail_is_cut_away_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    PushJournal(path).append(FIRST)
    one = path.stat().st_size
    PushJournal(path).append(SECOND)
    both = path.read_bytes()
    for size in range(one, len(both)):
        path.write_bytes(both[:size])
        journal = PushJournal(path)
        assert len(journal.load()) == 1
        journal.append(SECOND)
        assert loaded(path) == names_of(FIRST, SECOND)


def test_damaged_record_ends_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for bundle in (FIRST, SECOND):
        PushJournal(path).append(bundle)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert loaded(path) == names_of(FIRST)


@pytest.mark.parametrize("content", [b"", b"PH", b"something else entirely"])
def test_what_is_no_journal_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(content)
    journal = PushJournal(path)
    assert journal.load() == []
    journal.append(FIRST)
    assert loaded(path) == names_of(FIRST)


def test_threads_may_append_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    bundles = [bundle_of(b"%d" % index) for index in range(40)]
    journal = PushJournal(path)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(journal.append, bundles))
    assert sorted(loaded(path)) == sorted(names_of(*bundles))


def test_deleted_journal_is_empty(tmp_path: Path) -> None:
    journal = PushJournal(tmp_path / "journal")
    journal.append(FIRST)
    journal.delete()
    journal.delete()
    assert journal.load() == []
