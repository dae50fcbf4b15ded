"""How a behaviour is written down: requests one after another, and what must come of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from tests.conformance.http_cache.cache import Cache, dates_in
from tests.conformance.http_cache.origin import Reply
from tests.conformance.http_cache.wire import Response

Lines: TypeAlias = Sequence[tuple[str, str]]
ABSENT = "(absent)"
DATED = ("Date", "@0@")
NEW = Reply(headers=(DATED,), body=b"new")


@dataclass(frozen=True)
class Step:
    """One request."""

    asks: bool
    """Whether the origin must be asked."""
    reply: Reply = NEW
    """What it answers, if it is."""
    after_s: float = 0
    method: str = "GET"
    target: str = "/"
    headers: Lines = ()
    body: bytes = b""
    status: int | None = None
    gives: bytes | None = None
    has: Mapping[str, str] = field(default_factory=dict)
    """Fields of the answer; ABSENT for one that must not be there."""
    asked: Mapping[str, str] = field(default_factory=dict)
    """Fields of the request that the origin gets."""


@dataclass(frozen=True)
class Behaviour:
    """A rule, and the requests that show whether it is kept."""

    rule: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return self.rule


def behaviour(rule: str, *steps: Step) -> Behaviour:
    """Return a behaviour."""
    return Behaviour(rule, steps)


def reply(
    *headers: tuple[str, str],
    status: int = 200,
    body: bytes = b"first",
    **more: Any,
) -> Reply:
    """Return an answer of the origin, dated now unless it says otherwise."""
    if not any(name.lower() == "date" for name, _ in headers):
        headers = (DATED, *headers)
    return Reply(status=status, headers=headers, body=body, **more)


def first(*headers: tuple[str, str], **more: Any) -> Step:
    """Return the request that brings a response into the cache, if it may be there."""
    return Step(asks=True, reply=reply(*headers, **more))


async def show(cache: Cache, behaviour: Behaviour) -> None:
    """Go through the steps of ``behaviour``; fail at the first that is not as it must be."""
    for index, step in enumerate(behaviour.steps):
        await _step(cache, step, f"{behaviour.rule}: request {index + 1}")


async def _step(cache: Cache, step: Step, where: str) -> None:
    cache.clock.advance(step.after_s)
    now = cache.clock.now()
    headers = tuple((name, dates_in(value, now)) for name, value in step.reply.headers)
    cache.origin.reply = replace(step.reply, headers=headers)
    before = len(cache.origin.asked)
    answer = await cache.ask(step.target, step.headers, method=step.method, body=step.body)
    assert (len(cache.origin.asked) > before) is step.asks, f"{where}: {answer}"
    _check_answer(answer, step, where, now)
    for name, value in step.asked.items():
        came = cache.origin.asked[-1].head.get(name)
        assert came == (None if value is ABSENT else dates_in(value, now)), f"{where}: {name}"


def _check_answer(answer: Response, step: Step, where: str, now: float) -> None:
    status = step.status or (step.reply.status if step.asks else 200)
    assert answer.status == status, f"{where}: {answer}"
    assert answer.is_complete, where
    if step.gives is not None:
        assert answer.body == step.gives, f"{where}: {answer}"
    for name, value in step.has.items():
        came = answer.get(name)
        assert came == (None if value is ABSENT else dates_in(value, now)), f"{where}: {answer}"
