"""A publisher asks why a patch is big: two folders before a push, two releases after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from playhead.roles import Finished, run
from tests.patches import members, noise, prose, table_of, write_files

pytestmark = [pytest.mark.slow, pytest.mark.may_block]


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    tmp_path = tmp_path_factory.mktemp("builds")
    parts = members(700, 6_000, 1)
    grown = [parts[0] + b"a few more words", *parts[1:]]
    texts = {f"text/{n:03}.txt": prose(900, n) for n in range(60)}
    old = {"world.pak": table_of(parts) + b"".join(parts), **texts}
    new = {"world.pak": table_of(grown) + b"".join(grown), **texts, "new.map": noise(99_000, 2)}
    return write_files(tmp_path / "1", old), write_files(tmp_path / "2", new)


def explain(folder: Path, *words: str | Path) -> Finished:
    return run([f"--set=data={folder / 'data'}", "explain", *words], scratch=folder)


def push(folder: Path, build: Path) -> None:
    words = ["--title", "game", "--version", build.name, "--channel", "live", "--json"]
    run([f"--set=data={folder / 'data'}", "push", build, *words], scratch=folder).last_json()


def test_folders_are_explained_in_words_and_nothing_is_stored(
    tmp_path: Path, builds: tuple[Path, Path]
) -> None:
    said = explain(tmp_path, *builds)
    assert said.exit_code == 0, said.errors
    assert "An update downloads" in said.output
    assert "Looks like a table of contents at the front" in said.output
    assert "New content" in said.output
    assert "world.pak" in said.output
    assert not (tmp_path / "data").exists()


def test_folders_and_releases_of_them_have_the_same_report(
    tmp_path: Path, builds: tuple[Path, Path]
) -> None:
    by_folder = explain(tmp_path, *builds, "--json").last_json()
    for build in builds:
        push(tmp_path, build)
    by_release = explain(tmp_path, "1", "@2", "--title", "game", "--json").last_json()
    for part in ("sizes", "groups", "findings", "files", "removed"):
        assert by_release[part] == by_folder[part]
    assert by_folder["delta_size"] is None
    assert by_folder["sizes"]["download"] == sum(
        finding["download_size"] for finding in by_folder["findings"]
    )
    assert {finding["cause"] for finding in by_folder["findings"]} >= {
        "shifted-by-its-front",
        "new-content",
    }


def test_page_is_written_beside_the_json(tmp_path: Path, builds: tuple[Path, Path]) -> None:
    page = tmp_path / "patch.html"
    said = explain(tmp_path, *builds, "--html", page, "--json")
    assert said.last_json()["old"] == str(builds[0])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "world.pak" in text


def test_page_that_cannot_be_written_is_named(tmp_path: Path, builds: tuple[Path, Path]) -> None:
    said = explain(tmp_path, *builds, "--html", tmp_path / "no" / "patch.html")
    assert said.exit_code == 6
    assert "patch.html cannot be written" in said.errors


def test_layout_and_ignored_files_are_those_of_a_push(
    tmp_path: Path, builds: tuple[Path, Path]
) -> None:
    layout = tmp_path / "layout.toml"
    layout.write_text('[[group]]\nname = "launch"\nfiles = ["text/"]\n')
    words: list[str | Path] = ["--layout", layout, "--ignore", "*.map", "--json"]
    report = explain(tmp_path, *builds, *words).last_json()
    assert [group["name"] for group in report["groups"]] == ["launch", "rest"]
    assert [file["path"] for file in report["files"]] == ["world.pak"]


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (["1", "nowhere"], 2, "is no folder"),
        (["1", "9", "--title", "game"], 3, "'9'"),
        (["1", "1", "--title", "nobody"], 3, "nobody"),
        (["1", "1", "--title", "game", "--ignore", "x"], 2, "--ignore"),
    ],
)
def test_what_cannot_be_explained_is_named(
    tmp_path: Path,
    builds: tuple[Path, Path],
    words: list[str],
    exit_code: int,
    says: str,
) -> None:
    push(tmp_path, builds[0])
    said = explain(tmp_path, *words)
    assert said.exit_code == exit_code
    assert says in said.errors


def test_explaining_large_files_takes_bounded_memory(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        with (tmp_path / version / "big.pak").open("wb") as big:
            for number in range(400):
                seed = number + 1000 * (version == "2") * (number % 3 == 0)
                big.write(noise(1 << 20, seed))
    said = explain(tmp_path, tmp_path / "1", tmp_path / "2", "--json")
    assert json.loads(said.output)["sizes"]["changed"] > 100 << 20
    # Neither both builds of 400 MiB nor one: windows, and the imports.
    assert said.peak_rss_bytes < 330 << 20
