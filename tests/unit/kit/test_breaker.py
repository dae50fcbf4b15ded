"""What a circuit breaker promises, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from kit.resilience import Breaker, BreakerState, Pass

FAILURES_MAX, WINDOW, OPEN_S, OPEN_S_MAX = 3, 8, 1.0, 4.0


def breaker_of_tests() -> Breaker:
    return Breaker(failures_max=FAILURES_MAX, window=WINDOW, open_s=OPEN_S, open_s_max=OPEN_S_MAX)


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin and end in any order; a model that sees only those says what must hold."""

    passes = Bundle("passes")

    def __init__(self) -> None:
        super().__init__()
        self.breaker = breaker_of_tests()
        self.now = 0.0
        self.state = BreakerState.CLOSED
        self.turns = 0
        """How often it opened or closed."""
        self.trial_of_turn: int | None = None
        """The turn whose trial is under way."""
        self.given: dict[int, tuple[bool, int]] = {}
        """Of each call under way: whether it is a trial, and the turn it began in."""

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 4.0]))
    def wait(self, seconds: float) -> None:
        before = self.breaker.state(self.now)
        self.now += seconds
        after = self.breaker.state(self.now)
        if before is not BreakerState.OPEN:
            assert after is before, "time alone only ends being open"
        if seconds >= OPEN_S_MAX:
            assert after is not BreakerState.OPEN, "it is open for so long at most"

    @rule(target=passes)
    def enter(self) -> Pass | None:
        state = self.breaker.state(self.now)
        leave = self.breaker.enter(self.now)
        match state:
            case BreakerState.CLOSED:
                assert leave is not None
            case BreakerState.OPEN:
                assert leave is None
            case BreakerState.HALF_OPEN:
                is_trying = self.trial_of_turn == self.turns
                assert (leave is None) == is_trying, "one trial at a time"
                self.trial_of_turn = self.turns
        if leave is not None:
            self.given[id(leave)] = state is BreakerState.HALF_OPEN, self.turns
        return leave

    @rule(leave=consumes(passes))
    def succeed(self, leave: Pass | None) -> None:
        if leave is None:
            return
        state = self.breaker.state(self.now)
        self.breaker.succeed(leave)
        if self.breaker.state(self.now) is not state:
            assert self.given[id(leave)] == (True, self.turns), "only a good trial closes it"
            assert self.breaker.state(self.now) is BreakerState.CLOSED
            self.turns += 1

    @rule(leave=consumes(passes))
    def fail(self, leave: Pass | None) -> None:
        if leave is None:
            return
        state = self.breaker.state(self.now)
        self.breaker.fail(leave, self.now)
        if self.breaker.state(self.now) is not state:
            assert state is not BreakerState.OPEN, "open is as bad as it gets"
            assert self.breaker.state(self.now) is BreakerState.OPEN
            assert self.given[id(leave)][1] == self.turns, "what ended since says nothing of now"
            self.turns += 1

    @rule(leave=consumes(passes))
    def abandon(self, leave: Pass | None) -> None:
        if leave is None:
            return
        state = self.breaker.state(self.now)
        self.breaker.abandon(leave)
        assert self.breaker.state(self.now) is state, "what was given up says nothing"
        if self.given[id(leave)] == (True, self.turns):
            self.trial_of_turn = None

    @rule()
    def allow_trial(self) -> None:
        state = self.breaker.state(self.now)
        self.breaker.allow_trial(self.now)
        assert (self.breaker.state(self.now) is BreakerState.CLOSED) == (
            state is BreakerState.CLOSED
        )
        assert self.breaker.state(self.now) is not BreakerState.OPEN

    @invariant()
    def asking_for_the_state_changes_nothing(self) -> None:
        assert self.breaker.state(self.now) is self.breaker.state(self.now)


TestBreakerMachine = BreakerMachine.TestCase


def entered(breaker: Breaker, now: float) -> Pass:
    leave = breaker.enter(now)
    assert leave is not None
    return leave


def opened(now: float = 0.0) -> Breaker:
    breaker = breaker_of_tests()
    for _ in range(FAILURES_MAX):
        breaker.fail(entered(breaker, now), now)
    assert breaker.state(now) is BreakerState.OPEN
    return breaker


def test_a_success_among_failures_keeps_it_closed() -> None:
    breaker = breaker_of_tests()
    for call in range(WINDOW):
        leave = entered(breaker, 0)
        if call % 3 == 2:
            breaker.fail(leave, 0)
        else:
            breaker.succeed(leave)
    assert breaker.state(0) is BreakerState.CLOSED


def test_half_of_the_calls_failing_opens_it_though_never_many_in_a_row() -> None:
    breaker = breaker_of_tests()
    for call in range(WINDOW):
        leave = entered(breaker, 0)
        if call % 2:
            breaker.fail(leave, 0)
        else:
            breaker.succeed(leave)
    assert breaker.state(0) is BreakerState.OPEN


def test_it_stays_open_twice_as_long_each_time_a_trial_fails_up_to_a_limit() -> None:
    breaker, now, waited = opened(), 0.0, []
    for _ in range(4):
        start = now
        while breaker.state(now) is BreakerState.OPEN:
            now += 0.25
        waited.append(now - start)
        breaker.fail(entered(breaker, now), now)
    assert waited == [1.0, 2.0, 4.0, 4.0]


def test_a_good_trial_closes_it_and_forgets_how_long_it_was_open() -> None:
    breaker = opened()
    breaker.fail(entered(breaker, 1.0), 1.0)
    breaker.succeed(entered(breaker, 3.0))
    assert breaker.state(3.0) is BreakerState.CLOSED
    for _ in range(FAILURES_MAX):
        breaker.fail(entered(breaker, 3.0), 3.0)
    assert breaker.state(3.9) is BreakerState.OPEN
    assert breaker.state(4.0) is BreakerState.HALF_OPEN


def test_calls_begun_before_it_opened_say_nothing_of_now() -> None:
    breaker = breaker_of_tests()
    early = [entered(breaker, 0) for _ in range(FAILURES_MAX + 2)]
    for leave in early[:FAILURES_MAX]:
        breaker.fail(leave, 0)
    breaker.succeed(early[-1])
    assert breaker.state(0.5) is BreakerState.OPEN
    breaker.fail(early[-2], 0.9)
    assert breaker.state(1.0) is BreakerState.HALF_OPEN


def test_an_abandoned_trial_makes_place_for_the_next() -> None:
    breaker = opened()
    leave = entered(breaker, 1.0)
    assert breaker.enter(1.0) is None
    breaker.abandon(leave)
    assert breaker.enter(1.0) is not None


def test_a_sign_of_life_lets_a_trial_through_at_once() -> None:
    breaker = opened()
    breaker.allow_trial(0.1)
    assert breaker.state(0.1) is BreakerState.HALF_OPEN
