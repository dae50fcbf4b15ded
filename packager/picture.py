"""Draw a patch report as one page: no script, nothing from elsewhere, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from kit.units import size_text
from packager.causes import Nature
from packager.comparison import Sizes, SpanKind
from packager.patch_report import PatchFile, PatchReport
from packager.treemap import Rectangle, lay_out

MAP_WIDTH, MAP_HEIGHT = 1000, 420
TILES_MAX = 60
"""The rest is one tile: a smaller one could not be pointed at."""

TILE_SHARE_MIN = 0.002

ROWS_MAX = 200
"""Files listed; the rest is counted."""

STRIP_WIDTH = 1000

LABEL_HEIGHT = 20

LETTER_WIDTH = 7.2
"""Of a letter in the map's units: the page's type is narrower."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A file, or all the small ones of a group together, in the map of the download."""

    box: Rectangle
    label: str
    """As much of the name as there is room for; maybe none."""
    detail: str
    hint: str
    """All there is to say, for whoever points at it."""
    style: str


@dataclass(frozen=True, slots=True)
class GroupBox:
    """An install group in the map, with its tiles."""

    box: Rectangle
    label: str
    """Its name, or as much of it as there is room for."""
    is_labelled: bool
    """Whether there is room above its tiles, and another group to tell it from."""
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a strip: where it starts, how wide it is, what it is."""

    x: float
    width: float
    style: str


def draw(report: PatchReport) -> str:
    """Return a page of HTML that shows where the bytes of a patch come from, and why."""
    environment = Environment(
        loader=PackageLoader("packager"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["size"] = size_text
    numbers = {finding.cause: number for number, finding in enumerate(report.findings, 1)}
    return environment.get_template("patch.html").render(
        report=report,
        groups=_group_boxes(report),
        numbers=numbers,
        strips=[(file, _strip(file)) for file in report.files if file.strip],
        rows=report.files[:ROWS_MAX],
        row_count_left=max(0, len(report.files) - ROWS_MAX),
        bars_of=_bars,
        map_width=MAP_WIDTH,
        map_height=MAP_HEIGHT,
        strip_width=STRIP_WIDTH,
        kinds=list(SpanKind),
        natures=_nature_sizes(report),
    )


def _nature_sizes(report: PatchReport) -> list[tuple[Nature, int]]:
    return [
        (nature, sum(f.download_size for f in report.findings if f.nature is nature))
        for nature in Nature
    ]


def _group_boxes(report: PatchReport) -> list[GroupBox]:
    """Return the map: groups side by side, in each its files."""
    groups = sorted(
        (group for group in report.groups if group.sizes.download),
        key=lambda group: -group.sizes.download,
    )
    area = Rectangle(0, 0, MAP_WIDTH, MAP_HEIGHT)
    boxes = lay_out([group.sizes.download for group in groups], area)
    total = report.sizes.download
    return [
        _group_box(report, group.name, box, is_alone=len(groups) == 1, total=total)
        for group, box in zip(groups, boxes, strict=True)
    ]


def _group_box(
    report: PatchReport, name: str, box: Rectangle, *, is_alone: bool, total: int
) -> GroupBox:
    letters = int(box.width / LETTER_WIDTH)
    is_labelled = not is_alone and letters >= 4 and box.height >= 3 * LABEL_HEIGHT
    label = name if len(name) <= letters else f"{name[: letters - 1]}\N{HORIZONTAL ELLIPSIS}"
    area = box
    if is_labelled:
        area = Rectangle(box.x, box.y + LABEL_HEIGHT, box.width, box.height - LABEL_HEIGHT)
    return GroupBox(box, label, is_labelled, tuple(_tiles(report, name, area, total)))


def _tiles(report: PatchReport, group: str, area: Rectangle, total: int) -> list[Tile]:
    files = [file for file in report.files if file.group == group and file.sizes.download]
    shown = [f for f in files[:TILES_MAX] if f.sizes.download >= TILE_SHARE_MIN * total]
    rest = files[len(shown) :]
    weights = [file.sizes.download for file in shown]
    rest_size = sum(file.sizes.download for file in rest)
    if rest_size:
        weights.append(rest_size)
    boxes = list(lay_out(sorted(weights, reverse=True), area))
    order = sorted(range(len(weights)), key=lambda index: -weights[index])
    tiles: list[Tile] = []
    for box, index in zip(boxes, order, strict=True):
        if index < len(shown):
            tiles.append(_file_tile(shown[index], box))
        else:
            name = f"{len(rest):,} smaller files" if len(rest) > 1 else rest[0].path
            tiles.append(_tile(box, name, rest_size, hint=f"{name} of group {group}", style="rest"))
    return tiles


def _file_tile(file: PatchFile, box: Rectangle) -> Tile:
    nature = "rest" if file.nature is None else file.nature.value
    cause = "" if file.cause is None else f", {file.cause.value}"
    hint = f"{file.path} (group {file.group}{cause})"
    return _tile(box, file.path, file.sizes.download, hint=hint, style=nature)


def _tile(box: Rectangle, name: str, size: int, *, hint: str, style: str) -> Tile:
    short = name.rpartition("/")[2]
    letters = int((box.width - 10) / LETTER_WIDTH)
    label = next((text for text in (name, short) if len(text) <= letters), "")
    if not label and letters >= 8:
        label = f"{short[: letters - 1]}\N{HORIZONTAL ELLIPSIS}"
    if box.height < 18:
        label = ""
    detail = size_text(size)
    if box.height < 36 or len(detail) > letters:
        detail = ""
    return Tile(box, label, detail, f"{hint}: {size_text(size)} to download", style)


def _strip(file: PatchFile) -> list[Bar]:
    """Return the parts of a file's length, each wide enough to be seen."""
    scale = STRIP_WIDTH / file.size
    return [
        Bar(cell.start * scale, max((cell.end - cell.start) * scale, 0.5), cell.kind.value)
        for cell in file.strip
    ]


def _bars(sizes: Sizes) -> list[Bar]:
    """Return the bytes of a group by what became of them, as one bar."""
    parts = [(kind.value, getattr(sizes, kind.value)) for kind in reversed(SpanKind)]
    return list(_laid_end_to_end(parts, sizes.total))


def _laid_end_to_end(parts: Sequence[tuple[str, int]], total: int) -> list[Bar]:
    at = 0
    bars: list[Bar] = []
    for style, size in parts:
        if size:
            scale = STRIP_WIDTH / total
            bars.append(Bar(at * scale, max(size * scale, 0.5), style))
        at += size
    return bars
