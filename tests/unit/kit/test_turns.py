"""Turns of an event loop, by a clock that is set by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.turns import FLOOR, LASTING_TURNS, RETRY_S_MAX, Turns, Verdict

TURN_S = 0.05
LASTING_S = TURN_S * LASTING_TURNS


@dataclass
class Loop:
    """An event loop that takes ``cost_s`` for each request it serves, and no time for others."""

    cost_s: float = 0.001
    now: float = 100.0
    is_timed: bool = False
    seen_s: list[float] = field(default_factory=list)
    said: Counter[Verdict] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.turns = Turns(TURN_S, begin_timing=self._begin_timing, observe=self.seen_s.append)

    def _begin_timing(self) -> None:
        assert not self.is_timed
        self.is_timed = True

    def turn(
        self, arrivals: int, *, under_way_s: float = 0.0, is_newcomer: bool = False
    ) -> Counter[Verdict]:
        """Take one turn: first what is under way, then so many new requests."""
        if self.is_timed:
            self.is_timed = False
            self.turns.turned(self.now)
        self.now += under_way_s
        said: Counter[Verdict] = Counter()
        for _ in range(arrivals):
            verdict = Verdict.SERVE
            if self.now >= self.turns.look_at:
                verdict = self.turns.judge(self.now, is_newcomer=is_newcomer)
            said[verdict] += 1
            if verdict is Verdict.SERVE:
                self.now += self.cost_s
            elif verdict is Verdict.REFUSE:
                self.now += self.cost_s / 20
        self.said += said
        return said

    def rest(self, seconds: float) -> None:
        """Let time pass in which nobody asks."""
        until = self.now + seconds
        while self.now < until:
            self.turn(0)
            self.now += TURN_S / 10
        self.turns.rest(self.now)

    def overload(self) -> None:
        while not self.turns.is_overloaded:
            self.turn(200)


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_while_turns_are_short_nobody_is_refused_and_few_are_looked_at(loop: Loop) -> None:
    for _ in range(1000):
        assert loop.turn(2) == {Verdict.SERVE: 2}
    assert 0 < len(loop.seen_s) < 500
    assert not loop.turns.is_overloaded


def test_a_burst_is_served(loop: Loop) -> None:
    assert loop.turn(int(LASTING_S / loop.cost_s) - 1) == {Verdict.SERVE: 399}
    loop.rest(0.1)
    assert not loop.turns.is_overloaded


def test_one_turn_without_an_end_is_cut_short(loop: Loop) -> None:
    loop.turn(100_000)
    assert loop.turns.is_overloaded
    assert loop.said[Verdict.SERVE] <= LASTING_S / loop.cost_s + FLOOR + 1
    assert loop.said[Verdict.HOLD] > 90_000


def test_what_lasts_is_cut_to_what_can_be_served_in_a_turn(loop: Loop) -> None:
    loop.overload()
    for _ in range(100):
        began = loop.now
        said = loop.turn(250)
        assert 50 <= said[Verdict.SERVE] <= 50 + FLOOR + 1
        assert said[Verdict.REFUSE] >= 40
        assert loop.now - began <= TURN_S * 1.1 + FLOOR * loop.cost_s


def test_nine_tenths_of_the_time_are_for_what_is_served(loop: Loop) -> None:
    loop.overload()
    loop.said.clear()
    began = loop.now
    for _ in range(200):
        loop.turn(2000)
    assert loop.said[Verdict.SERVE] * loop.cost_s > 0.9 * (loop.now - began)


def test_what_is_under_way_comes_first(loop: Loop) -> None:
    loop.overload()
    assert loop.turn(100, under_way_s=0.04)[Verdict.SERVE] <= 11 + FLOOR
    assert loop.turn(100, under_way_s=0.5)[Verdict.SERVE] == FLOOR


def test_newcomers_are_refused_before_those_amid_a_download(loop: Loop) -> None:
    loop.overload()
    assert loop.turn(45, under_way_s=0.0)[Verdict.SERVE] == 45
    served = loop.turn(45, is_newcomer=True)[Verdict.SERVE]
    assert 37 <= served <= 39


def test_it_is_over_once_turns_were_in_time_for_as_long(loop: Loop) -> None:
    loop.overload()
    for _ in range(3):
        loop.turn(10)
    assert loop.turns.is_overloaded
    loop.rest(LASTING_S + 0.1)
    assert not loop.turns.is_overloaded
    assert loop.turn(30) == {Verdict.SERVE: 30}


def test_a_loop_that_rests_is_not_kept_awake(loop: Loop) -> None:
    loop.overload()
    loop.rest(LASTING_S + 0.1)
    loop.turn(0)
    assert not loop.is_timed


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.floats(0, 0.3), st.floats(0, 0.2), st.booleans()),
        max_size=60,
    ),
    st.floats(1e-5, 0.1),
)
def test_whatever_comes_every_turn_serves_the_floor_and_it_recovers(
    story: list[tuple[int, float, float, bool]], cost_s: float
) -> None:
    loop = Loop(cost_s)
    for arrivals, under_way_s, idle_s, is_newcomer in story:
        said = loop.turn(arrivals, under_way_s=under_way_s, is_newcomer=is_newcomer)
        # A newcomer may find the last quarter of a turn kept for others.
        floor = min(arrivals, FLOOR) if not is_newcomer or under_way_s > TURN_S else 0
        assert said[Verdict.SERVE] >= floor
        loop.now += idle_s
    loop.rest(LASTING_S + 1)
    assert not loop.turns.is_overloaded
    assert loop.turn(1) == {Verdict.SERVE: 1}


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1e6))
def test_who_is_refused_is_told_whole_seconds_within_bounds(chance: float, later_s: float) -> None:
    loop = Loop()
    assert 1 <= loop.turns.retry_after_s(loop.now, chance) <= 2
    loop.overload()
    assert 1 <= loop.turns.retry_after_s(loop.now, chance) <= 2
    assert 1 <= loop.turns.retry_after_s(loop.now + later_s, chance) <= 2 * RETRY_S_MAX


def test_the_longer_it_lasts_the_longer_they_are_told_to_wait(loop: Loop) -> None:
    loop.overload()
    now = loop.now
    assert [loop.turns.retry_after_s(now + after, 0) for after in (0, 10, 20, 99)] == [1, 2, 4, 16]


def test_without_a_limit_all_are_served_and_none_is_looked_at() -> None:
    turns = Turns(0, begin_timing=lambda: None, observe=lambda _: None)
    assert turns.look_at > 1e300
