"""``playhead edge warm``, ``warms``, ``cancel``."""

from __future__ import annotations

import time

import click
from rich.progress import Progress
from rich.table import Table

from edge.operating.messages import Kind, Warm, WarmPhase, WarmRequest
from kit.errors import Interrupted, InvalidInput, Unavailable
from kit.units import ByteSize, size_text
from playhead.cli.edge_options import amount_text, asked, edge_option, time_text
from playhead.cli.terminal import (
    duration_text,
    json_option,
    notice,
    output,
    print_figures,
    print_json,
    progress_bar,
    rate_text,
    reports_errors,
)
from playhead.edge_desk import EdgeDesk, moment_of
from playhead.settings import Settings


@click.command()
@click.argument("target", metavar="TITLE[@CHANNEL|@COUNTER]")
@click.option("--groups", default="", help="Install groups with commas between; default: all.")
@click.option("--deltas", is_flag=True, help="What updates to it need as well.")
@click.option(
    "--deadline",
    default="1d",
    show_default=True,
    help="Pinned for so long (2d), or until (RFC 3339).",
)
@click.option("--max-rate", metavar="SIZE", default="", help="Bytes a second at most, as in 50MiB.")
@click.option("--supersede", is_flag=True, help="Let go first of what only older releases have.")
@click.option("--detach", is_flag=True, help="Begin it, and do not wait for its end.")
@edge_option
@json_option
@click.pass_obj
@reports_errors
def warm(
    settings: Settings,
    *,
    target: str,
    groups: str,
    deltas: bool,
    deadline: str,
    max_rate: str,
    supersede: bool,
    detach: bool,
    url: str,
    as_json: bool,
) -> None:
    """Have an edge fetch a release before players ask for it, in play order.

    Stopping this command does not stop the edge; giving it again shows the same warm. A warm
    outlives restarts of its edge, and what is there is not fetched again.
    """
    request = WarmRequest(
        target=target,
        groups=tuple(filter(None, groups.split(","))),
        deltas=deltas,
        deadline_s=moment_of(deadline, time.time()),
        max_rate=_rate(max_rate),
        supersede=supersede,
    )
    shown = _Shown(as_json=as_json)

    async def ask(desk: EdgeDesk) -> Warm:
        begun = await desk.begin_warm(request)
        if detach:
            return begun
        shown.begun(begun)
        with shown.bar:
            return await desk.follow(begun, shown.show)

    try:
        found = asked(settings, url, ask)
    except KeyboardInterrupt as error:
        raise Interrupted(
            "the edge goes on; `playhead edge warms` shows it, `playhead edge cancel ID` ends it"
        ) from error
    _print_receipt(found, as_json=as_json)


@click.command()
@edge_option
@json_option
@click.pass_obj
@reports_errors
def warms(settings: Settings, *, url: str, as_json: bool) -> None:
    """List the warms that an edge remembers."""
    found = asked(settings, url, lambda desk: desk.warms())
    if as_json:
        print_json(found)
        return
    table = Table(box=None)
    for column in ("id", "target", "phase", "done", "of", "failed", "pinned until"):
        table.add_column(column, no_wrap=column == "id")
    for each in found:
        table.add_row(
            each.warm_id,
            each.target,
            each.phase.value,
            size_text(each.done_total().size),
            size_text(each.planned_total().size),
            str(each.failed_count),
            time_text(each.request.deadline_s),
        )
    output.print(table)


@click.command()
@click.argument("warm_id", metavar="ID")
@edge_option
@json_option
@click.pass_obj
@reports_errors
def cancel(settings: Settings, *, warm_id: str, url: str, as_json: bool) -> None:
    """End a warm; what it brought stays, pinned until its deadline."""
    found = asked(settings, url, lambda desk: desk.cancel_warm(warm_id))
    if as_json:
        print_json(found)
        return
    output.print(f"{found.warm_id} of {found.target}: {found.phase.value}")


class _Shown:
    """Shows a warm: its plan once it is known, and a bar."""

    def __init__(self, *, as_json: bool) -> None:
        self._is_silent = as_json
        self.bar: Progress = progress_bar(as_json=as_json)
        self._task = self.bar.add_task("warm", total=None)
        self._is_planned = False

    def begun(self, warm: Warm) -> None:
        """Say which warm it is."""
        if not self._is_silent:
            notice(f"warm {warm.warm_id} of {warm.target}, begun {time_text(warm.begun_s)}")

    def show(self, warm: Warm) -> None:
        """Show how far it is."""
        if warm.planned and not self._is_planned and not self._is_silent:
            self._is_planned = True
            notice(_plan_text(warm))
        if warm.planned:
            done, planned = warm.done_total(), warm.planned_total()
            text = f"warm {done.count:,}/{planned.count:,}"
            self.bar.update(self._task, description=text, completed=done.size, total=planned.size)


def _plan_text(warm: Warm) -> str:
    version = (
        "" if warm.release is None else f", release {warm.release.counter} ({warm.release.version})"
    )
    parts = [
        f"{_KINDS[kind]} {amount_text(warm.planned[kind.value])}"
        for kind in Kind
        if kind.value in warm.planned and warm.planned[kind.value].count
    ]
    return (
        f"{warm.target}{version}: {'; '.join(parts)}; in all {amount_text(warm.planned_total())},"
        f" pinned until {time_text(warm.request.deadline_s)}"
    )


_KINDS = {
    Kind.DOCUMENT: "documents",
    Kind.MANIFEST: "manifest",
    Kind.SLICE_LIST: "slice lists",
    Kind.SLICE: "slices",
    Kind.DELTA: "deltas",
}


def _print_receipt(warm: Warm, *, as_json: bool) -> None:
    """Print what came of it; leave with an error if that is not all of it."""
    if as_json:
        print_json(warm)
    elif warm.phase.is_over:
        print_figures(_receipt(warm))
    else:
        output.print(f"{warm.warm_id}  `playhead edge warms` shows how far it is")
    match warm.phase:
        case WarmPhase.CANCELLED:
            raise Interrupted(f"{warm.warm_id} was cancelled")
        case WarmPhase.FAILED:
            raise Unavailable(f"{warm.warm_id}: {warm.fault}")
        case WarmPhase.EXPIRED:
            raise Unavailable(f"{warm.warm_id}: its deadline came before its end")
        case WarmPhase.DONE if warm.failed_count:
            raise Unavailable(f"{warm.failed_count} objects could not be had: {warm.failed[0]}")
        case _:
            return


def _receipt(warm: Warm) -> dict[str, str]:
    fetched = sum(each.size for each in warm.fetched.values())
    figures = {"target": warm.target, "phase": warm.phase.value}
    if warm.release is not None:
        figures["release"] = f"{warm.release.counter}, version {warm.release.version}"
    for kind in Kind:
        brought, present = warm.fetched.get(kind.value), warm.present.get(kind.value)
        texts = [
            f"{verb} {amount_text(amount)}"
            for verb, amount in (("fetched", brought), ("was here", present))
            if amount is not None and amount.count
        ]
        if texts:
            figures[_KINDS[kind]] = ", ".join(texts)
    figures["verified"] = amount_text(warm.done_total())
    figures["pinned"] = amount_text(warm.pinned)
    if warm.unpinned.count:
        figures["not pinned"] = f"{amount_text(warm.unpinned)}: no more may be"
    if warm.request.supersede:
        figures["superseded"] = amount_text(warm.superseded)
    if warm.failed_count:
        figures["failed"] = f"{warm.failed_count}, first {warm.failed[0]}"
    figures["seconds"] = f"{duration_text(warm.worked_s)}, {rate_text(fetched, warm.worked_s)}"
    figures["ids"] = warm.ids_digest or "not all are known"
    return figures


def _rate(text: str) -> int:
    try:
        return int(ByteSize.parse(text)) if text else 0
    except ValueError as error:
        raise InvalidInput(f"--max-rate: {error}") from error
