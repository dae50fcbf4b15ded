"""``playhead edge status``, ``explain``, ``drain``."""

from __future__ import annotations

import asyncio

import click

from edge.operating.messages import Drained, Status
from kit.errors import Unavailable
from kit.units import size_text
from playhead.cli.edge_options import amount_text, asked, edge_option
from playhead.cli.terminal import (
    duration_text,
    json_option,
    output,
    print_figures,
    print_json,
    reports_errors,
)
from playhead.edge_desk import EdgeDesk
from playhead.settings import Settings

DRAIN_POLL_S = 0.5


@click.command()
@edge_option
@json_option
@click.pass_obj
@reports_errors
def status(settings: Settings, *, url: str, as_json: bool) -> None:
    """Show hit ratios, throughput, fills, upstreams, cache and warms of an edge."""
    found = asked(settings, url, lambda desk: desk.status())
    if as_json:
        print_json(found)
        return
    print_figures(_figures(found))


@click.command()
@click.argument("what", metavar="ID|URL")
@edge_option
@json_option
@click.pass_obj
@reports_errors
def explain(settings: Settings, *, what: str, url: str, as_json: bool) -> None:
    """Say where one object is, since when and how often it was used; if nowhere, why."""
    found = asked(settings, url, lambda desk: desk.explain(what))
    if as_json:
        print_json(found)
        return
    output.print(f"{found.kind} {found.path or found.what}: {found.text}")


@click.command()
@click.option("--undo", is_flag=True, help="Take traffic again.")
@click.option("--wait", is_flag=True, help="Return once nothing is under way any more.")
@click.option("--within", default=60.0, show_default=True, help="Seconds to wait at most.")
@edge_option
@json_option
@click.pass_obj
@reports_errors
def drain(
    settings: Settings, *, undo: bool, wait: bool, within: float, url: str, as_json: bool
) -> None:
    """Have an edge say that it is not ready, so that whoever sends traffic stops.

    It answers still, and closes each connection after its answer. SIGTERM ends it.
    """

    async def ask(desk: EdgeDesk) -> Drained:
        found = await desk.drain(draining=not undo)
        return await _empty(desk, within) if wait and not undo else found

    found = asked(settings, url, ask)
    if as_json:
        print_json(found)
    elif undo:
        output.print("takes traffic again")
    else:
        output.print(f"drains; {found.requests_running} requests under way")


async def _empty(desk: EdgeDesk, within_s: float) -> Drained:
    """Wait until nothing is under way.

    Raises:
        Unavailable: Something still is.
    """
    try:
        async with asyncio.timeout(within_s):
            while True:
                found = await desk.status()
                if not found.requests_running:
                    return Drained(draining=found.draining, requests_running=0)
                await asyncio.sleep(DRAIN_POLL_S)
    except TimeoutError as error:
        raise Unavailable(f"requests are under way still after {within_s:g} s") from error


def _figures(found: Status) -> dict[str, str]:
    rates = found.rates[-10:]
    count = max(1, len(rates))
    served = sum(each.served_bytes for each in rates) / count
    upstream = sum(each.upstream_bytes for each in rates) / count
    cache = found.cache
    figures = {
        "edge": f"{found.version}, {found.workers} workers, up {duration_text(found.uptime_s)}"
        + (", draining" if found.draining else ""),
        "hits": f"{_percent(found.byte_hit_ratio)} of bytes,"
        f" {_percent(found.request_hit_ratio)} of objects",
        **{f"  {tier}": amount_text(amount) for tier, amount in found.served.items()},
        "now": f"{size_text(served)}/s to players, {size_text(upstream)}/s from upstream,"
        f" {found.requests_running} requests, {found.fills_running} fills",
        "fills": f"{found.fills:,}, {found.collapsed:,} requests joined one;"
        f" {_ratio(found.origin_bytes_per_byte)} bytes from upstream for each sent",
        "cache": f"{size_text(cache.size)} of {size_text(cache.size_max)}, {cache.blobs:,} blobs;"
        f" pinned {amount_text(cache.pinned)}; documents {amount_text(cache.documents)}",
    }
    for upstream_health in found.upstreams:
        state = "healthy" if upstream_health.healthy else "failing"
        faults = f", {upstream_health.failures} failures" if upstream_health.failures else ""
        figures[f"from {upstream_health.url}"] = f"{state}{faults}"
    for name, counts in (
        ("wrong digests", found.verify_failures),
        ("evicted", found.evictions),
        ("not kept", found.not_cached),
        ("leases refused", found.leases_refused),
    ):
        if counts:
            figures[name] = ", ".join(f"{count:,} {label}" for label, count in counts.items())
    if found.scrub.size:
        figures["scrubbed"] = (
            f"{size_text(found.scrub.size)}, {found.scrub.rotten:,} rotten,"
            f" {found.scrub.repaired:,} repaired;"
            f" all of it {duration_text(found.scrub.pass_age_s)} ago"
        )
    if found.congestion_control:
        figures["congestion control"] = found.congestion_control
    for warm in found.warms:
        done, planned = warm.done_total(), warm.planned_total()
        progress = f"{size_text(done.size)} of {size_text(planned.size)}"
        figures[f"warm {warm.warm_id}"] = f"{warm.target}, {warm.phase.value}: {progress}"
    return figures


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.1f} %"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3f}"
