"""The figures of several workers as those of one edge."""

from __future__ import annotations

from typing import Any

from edge.operating.messages import Amount, CacheUse, Rates, Status, UpstreamHealth
from edge.operating.status import merged, with_ratios


def status_of(hit: int, fill: int, *, healthy: bool = True, rates: int = 3, **facts: Any) -> Status:
    """One worker's, that served so many bytes of each kind."""
    return with_ratios(
        Status(
            version="1",
            workers=1,
            started_s=facts.get("started_s", 100.0),
            uptime_s=facts.get("uptime_s", 5.0),
            draining=facts.get("draining", False),
            requests_running=2,
            served={"memory": Amount(1, hit), "fill": Amount(3, fill)},
            request_hit_ratio=None,
            byte_hit_ratio=None,
            upstream_size=fill,
            origin_bytes_per_byte=None,
            collapsed=1,
            fills=3,
            fills_running=1,
            rates=[
                Rates(requests=at, served_bytes=10 * at, upstream_bytes=1) for at in range(rates)
            ],
            upstreams=[
                UpstreamHealth(
                    url="http://origin",
                    shield=False,
                    healthy=healthy,
                    given_up=not healthy,
                    failures=0 if healthy else 4,
                    last_fault="" if healthy else "unavailable: gone",
                    average_s=0.1,
                )
            ],
            cache=CacheUse(
                size=hit,
                size_max=1000,
                blobs=1,
                pinned=Amount(1, 10),
                pinned_size_max=200,
                superseded=Amount(),
                documents=Amount(7, 70),
            ),
            verify_failures={"disk": 1},
            evictions={},
            not_cached={"disk": 2} if hit else {},
            leases_refused={},
            congestion_control="cubic",
            warms=[],
        )
    )


def test_one_worker_is_the_edge() -> None:
    alone = status_of(30, 10)
    assert merged([alone]) is alone
    assert (alone.byte_hit_ratio, alone.request_hit_ratio) == (0.75, 0.25)
    assert alone.origin_bytes_per_byte == 0.25


def test_counts_are_added_and_ratios_made_of_the_sums() -> None:
    both = merged([status_of(30, 10, started_s=50.0, uptime_s=9.0), status_of(0, 60)])
    assert (both.workers, both.started_s, both.uptime_s) == (2, 50.0, 9.0)
    assert both.served == {"memory": Amount(2, 30), "fill": Amount(6, 70)}
    assert both.byte_hit_ratio == 0.3  # and not the mean of 0.75 and 0
    assert (both.requests_running, both.fills, both.collapsed) == (4, 6, 2)
    assert both.cache.size == 30
    assert both.cache.documents == Amount(7, 70)  # each worker has the same ones
    assert both.verify_failures == {"disk": 2}
    assert both.not_cached == {"disk": 2}


def test_rates_are_added_from_now_back() -> None:
    both = merged([status_of(1, 1, rates=4), status_of(1, 1, rates=2)])
    assert [each.requests for each in both.rates] == [2 + 0, 3 + 1]


def test_an_upstream_is_healthy_if_it_is_so_for_most_workers() -> None:
    three = [status_of(1, 1), status_of(1, 1, healthy=False), status_of(1, 1)]
    [upstream] = merged(three).upstreams
    assert (upstream.healthy, upstream.given_up, upstream.failures) == (True, False, 4)
    assert upstream.last_fault == "unavailable: gone"
    [upstream] = merged([status_of(1, 1, healthy=False)] * 2 + three[:1]).upstreams
    assert (upstream.healthy, upstream.given_up) == (False, True)


def test_an_edge_drains_once_all_its_workers_do() -> None:
    assert not merged([status_of(1, 1, draining=True), status_of(1, 1)]).draining
    assert merged([status_of(1, 1, draining=True)] * 2).draining


def test_nothing_served_has_no_ratio() -> None:
    idle = with_ratios(status_of(0, 0))
    assert (idle.byte_hit_ratio, idle.origin_bytes_per_byte) == (None, None)
