"""What nginx and Varnish do otherwise than our edge, and why: tests and docs both read this.

The suite that all engines pass (``tests/contract/test_edge_engines*.py``) asks of what can be seen
from outside that it is so: a row that is no longer true fails there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

NGINX, VARNISH = "nginx", "varnish"


@dataclass(frozen=True, slots=True)
class Deviation:
    """One thing that an engine does otherwise."""

    engine: str
    rule: str
    """What an edge does."""
    instead: str
    why: str


_BOTH = (NGINX, VARNISH)

VERIFIED_READS = "what is read from the disk is verified before it is sent"
REVOKED_AT_ONCE = "what is revoked is refused as soon as it is known"
NONSENSE_IS_IGNORED = "a Range that is none, such as `bytes=9-5`, brings the whole"
AGE = "answers say their age"
KEPT_OVER_RESTART = "the cache outlives a restart"
SLICES = "of a bundle only the slices asked for are fetched"
SLOW_ARE_DROPPED = "who takes less than 256 KiB in `listen.drop_stalled_after` is dropped"
MISSES_ARE_COUNTED = "a player who asks for many things that do not exist is held up"
PURGED = "`playhead edge purge` and `warm` reach the cache"
TLS = "TLS 1.3"
DETAIL = "a refusal says in words what is wrong"
SHED = "one request too many is answered 503 at once"


def _rows() -> Iterator[Deviation]:
    for engine in _BOTH:
        yield Deviation(
            engine,
            VERIFIED_READS,
            "only what comes from our edge was verified",
            "neither can compute BLAKE3; a bit that rots on its disk or in its memory is noticed by"
            " the console, which asks another edge, and stays until the object is dropped",
        )
        yield Deviation(
            engine,
            REVOKED_AT_ONCE,
            "`gate.remember_for` later, 5 s" + (", and up to 1 s more" if engine == NGINX else ""),
            "the gate's answer is remembered, so that no request waits for Python",
        )
        yield Deviation(
            engine,
            MISSES_ARE_COUNTED,
            "not counted; a 404 is remembered for 2 s"
            + (
                ", a lease has 500 requests a second, and an address 100 for what needs none"
                if engine == NGINX
                else ""
            ),
            "the edge behind sees one node, which it does not count",
        )
        yield Deviation(
            engine,
            PURGED,
            "they do not",
            "names are digests, so nothing in it is ever wrong; to take a title off its disk, stop"
            " it, delete its folder, start it",
        )
        yield Deviation(
            engine,
            DETAIL,
            "by its code alone",
            "neither reads the body of the gate's answer",
        )
        yield Deviation(
            engine,
            SLOW_ARE_DROPPED,
            "who takes nothing at all in that time",
            "neither measures a pace; what one slow client holds is a connection"
            + (" and a thread" if engine == VARNISH else ""),
        )
    yield Deviation(
        NGINX,
        NONSENSE_IS_IGNORED,
        "416",
        "nginx reads the header itself; RFC 9110, section 14.2, allows both",
    )
    yield Deviation(
        NGINX,
        AGE,
        "no `Age` of its own; `Date` stays that of the edge's answer",
        "nginx computes none; whoever is behind it takes the difference of the dates (RFC 9111,"
        " section 4.2.3)",
    )
    yield Deviation(
        VARNISH, KEPT_OVER_RESTART, "it is empty", "the edge behind has it, so no origin is asked"
    )
    yield Deviation(
        VARNISH,
        SLICES,
        "the whole bundle is, at most 32 MiB, and sent while it comes",
        "it keeps no parts of an object; the first span of a bundle waits for what is before it",
    )
    yield Deviation(VARNISH, TLS, "none", "put hitch or nginx in front of it")
    yield Deviation(
        VARNISH,
        SHED,
        "it waits for a thread, then its connection is closed",
        "a thread serves each request, and there are `engine.listen.requests_max`",
    )


DEVIATIONS = tuple(_rows())


def deviates(engine: str, rule: str) -> bool:
    """Tell whether ``engine`` does otherwise than ``rule`` has it."""
    return any((each.engine, each.rule) == (engine, rule) for each in DEVIATIONS)


def table() -> str:
    """Return all of them in Markdown, as ``docs/operating/engines.md`` has them."""
    rows = [f"| {each.engine} | {each.rule} | {each.instead} | {each.why} |" for each in DEVIATIONS]
    return "\n".join(["| | an edge | instead | because |", "| --- | --- | --- | --- |", *rows, ""])
