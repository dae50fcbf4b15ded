"""The page of an explanation: complete in itself, and safe whatever files are named."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import zlib
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from packager.patch_report import PatchReport
from packager.picture import draw
from tests.patches import explained, noise, prose

HOSTILE = "<script>alert(1)</script>&\"'><img src=x onerror=alert(2)>{{ 7*7 }}"

VOID = {"meta", "rect", "br", "img", "link", "input"}


class Page(HTMLParser):
    """Collects a page's elements and text, and checks that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags = Counter[str]()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> PatchReport:
    old = {f"{n:02}.map": noise(90_000 + 1000 * n, n) for n in range(70)}
    old |= {"world.pak": noise(3_000_000, 90), "saved.txt": prose(5_000, 91)}
    new = {path: noise(len(content), 200 + n) for n, (path, content) in enumerate(old.items())}
    new |= {"world.pak": b"grown" + old["world.pak"], "gone elsewhere.txt": old["saved.txt"]}
    del new["saved.txt"]
    return explained(tmp_path_factory.mktemp("pages"), old, new)


def renamed(report: PatchReport, name: str) -> PatchReport:
    """The same report, in which the costliest file bears another name."""
    was = report.files[0].path
    files = (msgspec.structs.replace(report.files[0], path=name, old_path=name), *report.files[1:])
    findings = tuple(
        msgspec.structs.replace(
            found,
            paths=tuple(name if path == was else path for path in found.paths),
            evidence=f"{name} was there",
        )
        for found in report.findings
    )
    return msgspec.structs.replace(report, files=files, findings=findings, old=name, new=name)


def test_page_names_files_findings_and_sums(report: PatchReport) -> None:
    page = Page(draw(report))
    text = " ".join(page.words)
    for finding in report.findings:
        assert finding.title in text
        assert finding.advice in text
    assert report.files[0].path in text
    assert f"{report.groups[0].changed_count:,} of {report.groups[0].file_count:,}" in text
    assert page.tags["article"] == len(report.findings)


def test_hostile_names_stay_text(report: PatchReport) -> None:
    page = Page(draw(renamed(report, HOSTILE)))
    assert page.tags["script"] == page.tags["img"] == 0
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert HOSTILE in page.words
    assert "49" not in "".join(word for word in page.words if "alert" in word)
    plain = Page(draw(report))
    assert page.tags == plain.tags


def test_page_asks_for_nothing_from_elsewhere(report: PatchReport) -> None:
    text = draw(report)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "base"} & page.tags.keys()
    assert not [name for _, name, _ in page.attributes if name in ("src", "href", "xlink:href")]
    assert not re.search(r"url\(|@import|https?:", text)
    [policy] = [v for t, n, v in page.attributes if (t, n) == ("meta", "content") and "src" in v]
    assert policy.startswith("default-src 'none'")


def test_every_picture_says_in_words_what_it_shows(report: PatchReport) -> None:
    page = Page(draw(report))
    pictures = sum(1 for t, n, v in page.attributes if (t, n, v) == ("svg", "role", "img"))
    labels = [v for t, n, v in page.attributes if (t, n) == ("svg", "aria-label")]
    assert pictures == len(labels) > 3
    assert all(labels)
    hidden = sum(1 for t, n, _ in page.attributes if (t, n) == ("svg", "aria-hidden"))
    assert pictures + hidden == page.tags["svg"]
    ids = [v for _, n, v in page.attributes if n == "id"]
    assert len(ids) == len(set(ids))


def test_page_of_an_unchanged_build_says_so(tmp_path: Path) -> None:
    files = {"a": noise(100_000, 1)}
    text = " ".join(Page(draw(explained(tmp_path, files, files))).words)
    assert "Nothing changed" in text
    assert "Nothing needs to be downloaded" in text


def test_deltas_are_shown_when_they_were_reckoned(report: PatchReport) -> None:
    assert "With deltas" not in draw(report)
    assert "With deltas" in draw(msgspec.structs.replace(report, delta_size=1 << 20))


def test_page_of_very_many_files_stays_small(report: PatchReport) -> None:
    [file, *_] = report.files
    many = tuple(msgspec.structs.replace(file, path=f"{n}.bin", strip=()) for n in range(50_000))
    assert len(draw(msgspec.structs.replace(report, files=many))) < 200_000


CHROMIUM = shutil.which("chromium")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: no browser to look with")
@pytest.mark.parametrize(("scheme", "page_colour"), [("1", (255, 255, 255)), ("0", (20, 23, 28))])
def test_a_browser_draws_it_in_light_and_in_dark(
    tmp_path: Path, report: PatchReport, scheme: str, page_colour: tuple[int, int, int]
) -> None:
    page, shot = tmp_path / "patch.html", tmp_path / "patch.png"
    page.write_text(draw(renamed(report, HOSTILE)), encoding="utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-sync",
            "--no-first-run",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1000,2000",
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--screenshot={shot}",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert "CONSOLE" not in done.stderr, "the page breaks its own policy"
    width, pixels = read_png(shot)
    assert width == 1000
    colours = Counter(pixels)
    assert colours.most_common(1)[0][0] == page_colour
    # The map alone covers a sixth of what is seen; each of its colours is seen plainly.
    assert sum(count > 2_000 for count in colours.values()) >= 5


def read_png(path: Path) -> tuple[int, list[tuple[int, int, int]]]:
    """Decode a PNG of 8 bits a sample, RGB or RGBA, without interlacing: what browsers write."""
    data, at, packed = path.read_bytes(), 8, b""
    width = height = step = 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour_type = struct.unpack_from(">IIBB", body)
            assert (depth, colour_type in (2, 6)) == (8, True)
            step = 3 if colour_type == 2 else 4
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    raw, row_size = zlib.decompress(packed), width * step
    above, pixels = bytes(row_size), []
    for row in range(height):
        start = row * (row_size + 1)
        above = unfiltered(raw[start], raw[start + 1 : start + 1 + row_size], above, step)
        pixels += [tuple(above[x : x + 3]) for x in range(0, row_size, step)]
    return width, pixels  # type: ignore[return-value]


def unfiltered(kind: int, row: bytes, above: bytes, step: int) -> bytes:
    done = bytearray(row)
    for x in range(len(row)):
        left = done[x - step] if x >= step else 0
        corner = above[x - step] if x >= step else 0
        match kind:
            case 1:
                done[x] = (row[x] + left) & 255
            case 2:
                done[x] = (row[x] + above[x]) & 255
            case 3:
                done[x] = (row[x] + (left + above[x]) // 2) & 255
            case 4:
                guess = left + above[x] - corner
                near = min((left, above[x], corner), key=lambda value: abs(guess - value))
                done[x] = (row[x] + near) & 255
    return bytes(done)
