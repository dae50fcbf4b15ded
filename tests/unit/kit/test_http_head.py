"""Heads are read alike whether their lines were seen before or not, and only plain ones at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.http_head import REMEMBERED_MAX, HeadReader

LINES = b"Host: edge\r\nPlayhead-Lease: one\r\nAccept: */*\r\n"


def head(first: bytes, *more: bytes) -> bytes:
    return first + b"\r\n" + LINES + b"".join(line + b"\r\n" for line in more) + b"\r\n"


def test_target_and_span_are_read_anew_beside_lines_that_are_remembered() -> None:
    reader = HeadReader()
    for index in range(3):
        span = b"bytes=%d-" % index
        found = reader.read(head(b"GET /t/%d HTTP/1.1" % index, b"Range: " + span))
        assert found is not None
        assert (found.target, found.span, found.is_head) == (b"/t/%d" % index, span, False)
        assert found.headers == {b"host": b"edge", b"playhead-lease": b"one", b"accept": b"*/*"}
    without = reader.read(head(b"HEAD /t/9 HTTP/1.1"))
    assert without is not None
    assert (without.span, without.is_head) == (None, True)


@pytest.mark.parametrize(
    "unusual",
    [
        head(b"POST /t/1 HTTP/1.1"),
        head(b"GET /t/1 HTTP/1.0"),
        head(b"GET /t/\xc3\xa9 HTTP/1.1"),
        head(b"GET /t/1 HTTP/1.1", b"Range: bytes=0-1", b"Range: bytes=0-2"),
        head(b"GET /t/1 HTTP/1.1", b"Range: bytes=0-1", b"range: bytes=0-2"),
        head(b"GET /t/1 HTTP/1.1", b"Range: bytes=0-1", b"Content-Length: 3"),
        head(b"GET /t/1 HTTP/1.1\nContent-Length: 3"),
        head(b"GET /t/1 HTTP/1.1", b"Range: bytes=0-1\nContent-Length: 3"),
        head(b"GET /" + b"a" * 5000 + b" HTTP/1.1"),
    ],
)
def test_what_is_unusual_is_left_alone_though_its_other_lines_are_remembered(
    unusual: bytes,
) -> None:
    reader = HeadReader()
    assert HeadReader().read(unusual) is None
    for seen in (head(b"GET /t/1 HTTP/1.1"), head(b"GET /t/1 HTTP/1.1", b"Range: bytes=0-1")):
        assert reader.read(seen) is not None
        assert reader.read(unusual) is None


_PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b" ",
        b"\t",
        b"Range: bytes=0-9",
        b"range: bytes=1-2",
        b"Range: ",
        b"\r\nRange: ",
        b"Range : bytes=0-1",
        b"bytes=5-",
        b"Host: a",
        b"X: 1",
        b"Content-Length: 4",
        b"GET /t/1 HTTP/1.1",
        b"HEAD /t/2 HTTP/1.1",
        b"GET /t/3 HTTP/1.0",
        b"GET /t/1#x HTTP/1.1",
    ]
)


@given(st.lists(st.lists(_PIECES, max_size=9).map(b"".join), min_size=1, max_size=12))
def test_a_reader_that_remembers_reads_as_one_that_does_not(heads: list[bytes]) -> None:
    reader = HeadReader()
    usual = b"GET /t/1 HTTP/1.1\r\nHost: a\r\n"
    for rest in heads:
        for data in (usual + rest, rest):
            whole = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            assert reader.read(whole) == HeadReader().read(whole)


def test_no_more_lines_are_remembered_than_there_may_be() -> None:
    reader = HeadReader()
    for index in range(REMEMBERED_MAX + 10):
        assert reader.read(head(b"GET / HTTP/1.1", b"X: %d" % index)) is not None
    assert len(reader._remembered) == REMEMBERED_MAX
