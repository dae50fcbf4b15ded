"""``traceparent``, read and written."""

from __future__ import annotations

import pytest

from kit import trace

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_span_of_ours_continues_the_trace_of_the_caller() -> None:
    here = trace.follow(GOOD)
    assert here.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert here.flags == "01"
    assert here.span_id != "00f067aa0ba902b7"
    assert trace.follow(here.header).trace_id == here.trace_id


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        GOOD.upper(),
        GOOD + "-x",
        "01" + GOOD[2:],
        "00-" + "0" * 32 + GOOD[35:],
        "x" * 9999,
    ],
)
def test_anything_else_begins_a_new_trace(header: str | None) -> None:
    first, second = trace.follow(header), trace.follow(header)
    assert first.trace_id != second.trace_id
    assert len(first.trace_id) == 32
    assert len(first.span_id) == 16
