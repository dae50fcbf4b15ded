"""Answers to start calls that were made once stay readable; two readers see the same in them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import FormatError
from manifests.names import Channel, TitleId
from manifests.start import (
    Absent,
    Content,
    LeasePart,
    Part,
    Refusal,
    answer_header,
    encode_end,
    encode_part,
)
from manifests.start_reader import AnswerReader
from tests.conformance import start_reader
from tests.conformance.make_golden_start import golden_parts
from tests.conformance.start_reader import read_answer

GOLDEN = Path(__file__).parent / "golden_start.answer"
TITLE, LIVE = TitleId("golden"), Channel("live")

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
bodies = st.binary(max_size=300)


def parts_by_ours(data: bytes, size: int | None = None) -> list[Part]:
    """Return what the product reads when ``size`` bytes come at a time.

    Raises:
        FormatError: It breaks a rule, or ends early.
    """
    reader, found = AnswerReader(TITLE, LIVE), list[Part]()
    for at in range(0, len(data), size or max(1, len(data))):
        found += reader.feed(data[at : at + (size or len(data))])
    if not reader.is_complete:
        raise FormatError("ended early")
    return found


def as_read(part: Part) -> start_reader.Read:
    """Return a part as the second reader would have it."""
    match part:
        case Content(path, span, body):
            return start_reader.Read(start_reader.CONTENT, path, span or (0, 0), body)
        case Absent(path, span):
            return start_reader.Read(start_reader.ABSENT, path, span or (0, 0), b"")
        case LeasePart(lease, expires_in_s):
            said = {"lease": lease, "expires_in_s": expires_in_s}
            return start_reader.Read(start_reader.LEASE, "", (0, 0), said)
        case Refusal(status, code, detail):
            refused = {"status": status, "code": code, "detail": detail}
            return start_reader.Read(start_reader.REFUSAL, "", (0, 0), refused)


def encoded(parts: list[Part]) -> bytes:
    return answer_header() + b"".join(map(encode_part, parts)) + encode_end()


@st.composite
def answers(draw: st.DrawFn) -> list[Part]:
    """Return parts as an edge may send them."""

    def one(path: str, span: tuple[int, int] | None = None) -> Part:
        if draw(st.booleans()):
            return Absent(path, span)
        return Content(path, span, draw(bodies) if span is None else bytes(span[1] - span[0]))

    said = st.one_of(
        st.builds(LeasePart, st.text("abc_-", min_size=1, max_size=40), st.just(900.0)),
        st.builds(Refusal, st.integers(400, 599), st.text(max_size=9), st.text(max_size=40)),
    )
    opening: list[Part] = [one(f"/t/{TITLE}/h/{LIVE}"), one(f"/t/{TITLE}/h/{LIVE}/trust")]
    opening += draw(st.lists(said, max_size=1))
    names = draw(st.lists(digests, max_size=2, unique=True))
    manifests = [one(f"/t/{TITLE}/m/{name}") for name in names]
    bundle, cuts = draw(digests), sorted(draw(st.sets(st.integers(0, 999), max_size=3)))
    ranges = [one(f"/t/{TITLE}/b/{bundle}", span) for span in pairwise(cuts)]
    return [*draw(st.permutations(opening)), *manifests, *ranges]


def test_the_golden_answer_is_what_is_written_today() -> None:
    assert encoded(golden_parts()) == GOLDEN.read_bytes()


def test_both_readers_read_the_golden_answer() -> None:
    data = GOLDEN.read_bytes()
    assert parts_by_ours(data) == golden_parts()
    assert read_answer(data, TITLE, LIVE) == list(map(as_read, golden_parts()))


@given(answers(), st.integers(1, 400))
def test_both_readers_read_what_is_written_however_it_arrives(parts: list[Part], size: int) -> None:
    data = encoded(parts)
    assert parts_by_ours(data, size) == parts
    assert read_answer(data, TITLE, LIVE) == list(map(as_read, parts))


def boundaries() -> list[int]:
    """Return the ends of every header, path and body of the golden answer, and one byte off."""
    ends, at = [0, 4, 8], 8
    for part in golden_parts():
        size = len(encode_part(part))
        path = part.path if isinstance(part, Content | Absent) else ""
        ends += [at + 16, at + 16 + len(path), at + size]
        at += size
    return sorted({end + off for end in ends for off in (-1, 0, 1) if end + off >= 0})


@pytest.mark.parametrize("end", boundaries())
def test_neither_reader_takes_an_answer_cut_short(end: int) -> None:
    cut = GOLDEN.read_bytes()[:end]
    with pytest.raises(FormatError):
        parts_by_ours(cut)
    with pytest.raises(ValueError, match=r"ends early|no answer"):
        read_answer(cut, TITLE, LIVE)


@given(st.data())
def test_the_readers_agree_about_an_answer_that_was_changed(data: st.DataObject) -> None:
    whole = bytearray(encoded(data.draw(answers())))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        ours = parts_by_ours(bytes(whole))
    except FormatError:
        with pytest.raises(ValueError, match=r"."):
            read_answer(bytes(whole), TITLE, LIVE)
    else:
        assert read_answer(bytes(whole), TITLE, LIVE) == list(map(as_read, ours))
