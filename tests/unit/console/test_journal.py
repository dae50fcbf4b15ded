"""The journal survives being cut or spoilt anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.arranging import RECORD_SIZE
from console.journal import (
    JOURNAL,
    Applied,
    Begin,
    Carried,
    Intent,
    Journal,
    Landed,
    Taken,
    checkpoint_of,
    frame,
    pending_of,
    read_journal,
    remove_journal,
    unframe,
)
from console.safe_paths import Folder
from manifests.documents import ObjectRef, Release
from manifests.names import Channel, TitleId, Version

RELEASE = Release(
    title=TitleId("a-title"),
    counter=3,
    version=Version("1.3"),
    created_at="2026-05-04T10:00:00Z",
    root=ObjectRef(digest="ab" * 32, size=100),
)
BEGIN = Begin(release=RELEASE, channel=Channel("live"))
INTENT = Intent(groups=(0, 1), folders=("maps", "maps/deep"))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Folder]:
    with Folder.at(tmp_path) as folder:
        yield folder


def rows(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array(numbers, np.uint32)


def write(state: Folder) -> None:
    journal = Journal.begin(state, BEGIN)
    journal.append(checkpoint_of(rows(0, 1, 2)))
    journal.append(checkpoint_of(rows(7)))
    journal.append(INTENT)
    journal.close()


def test_without_a_journal_nothing_is_pending(state: Folder) -> None:
    assert read_journal(state) is None


def test_what_was_appended_is_read(state: Folder) -> None:
    write(state)
    pending = read_journal(state)
    assert pending is not None
    assert (pending.begin, pending.rows.tolist(), pending.intent) == (BEGIN, [0, 1, 2, 7], INTENT)


def test_begin_replaces_the_journal_before(state: Folder) -> None:
    write(state)
    Journal.begin(state, BEGIN).close()
    pending = read_journal(state)
    assert pending is not None
    assert pending.rows.tolist() == []


def test_intent_that_landed_is_not_pending() -> None:
    pending = pending_of([BEGIN, INTENT, Landed()])
    assert pending is not None
    assert pending.intent is None


def test_intent_after_one_that_landed_is_pending() -> None:
    pending = pending_of([BEGIN, INTENT, Landed(), INTENT])
    assert pending is not None
    assert pending.intent == INTENT


def test_removed_journal_is_gone(state: Folder) -> None:
    write(state)
    remove_journal(state)
    assert read_journal(state) is None


def test_cut_anywhere_leaves_a_beginning_that_can_be_continued(
    state: Folder, tmp_path: Path
) -> None:
    write(state)
    whole = (tmp_path / JOURNAL).read_bytes()
    first = len(frame(msgspec.msgpack.encode(BEGIN)))
    seen = set()
    for end in range(first, len(whole) + 1):
        (tmp_path / JOURNAL).write_bytes(whole[:end])
        journal = Journal.resume(state)
        journal.append(checkpoint_of(rows(99)))
        journal.close()
        pending = read_journal(state)
        assert pending is not None
        seen.add(tuple(pending.rows.tolist()))
    assert seen == {(99,), (0, 1, 2, 99), (0, 1, 2, 7, 99)}


@given(st.binary(max_size=200), st.data())
def test_frame_with_a_flipped_bit_is_refused(payload: bytes, data: st.DataObject) -> None:
    framed = bytearray(frame(payload))
    at = data.draw(st.integers(0, len(framed) - 1))
    framed[at] ^= 1 << data.draw(st.integers(0, 7))
    found = unframe(bytes(framed))
    assert found is None or bytes(found) != payload


@given(st.binary(max_size=200))
def test_frame_holds_its_payload(payload: bytes) -> None:
    assert bytes(unframe(frame(payload) + b"torn") or b"") == payload


def test_file_that_is_no_journal_is_nothing_pending(state: Folder, tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b"\xff" * 1000)
    assert read_journal(state) is None


def test_how_far_a_script_was_carried_out_is_remembered() -> None:
    intent = Intent(groups=(0,), folders=(), has_script=True)
    carried = (Taken(unsound=((0, 4),)), Applied(batches=1), Applied(batches=2))
    found = pending_of([BEGIN, intent, *carried])
    assert found is not None
    assert found.intent == intent
    assert found.carried == Carried(is_taken=True, batches=2, unsound=((0, 4),))


def test_next_intent_begins_its_script_anew() -> None:
    intent = Intent(groups=(1,), folders=(), has_script=True)
    found = pending_of([BEGIN, INTENT, Taken(), Applied(batches=3), Landed(), intent])
    assert found is not None
    assert found.carried == Carried()


def test_intent_of_an_older_console_has_no_script(state: Folder, tmp_path: Path) -> None:
    Journal.begin(state, BEGIN).close()
    older = msgspec.msgpack.encode(["intent", [0, 1], ["maps"]])
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(frame(older))
    found = read_journal(state)
    assert found is not None
    assert found.intent == Intent(groups=(0, 1), folders=("maps",))


@given(st.integers(0, 1 << 31))
def test_record_of_a_batch_takes_no_more_than_plans_reckon_with(batches: int) -> None:
    assert len(frame(msgspec.msgpack.encode(Applied(batches=batches)))) <= RECORD_SIZE
