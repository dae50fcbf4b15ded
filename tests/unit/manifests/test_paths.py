"""Paths and links: those that mean the same everywhere are taken, every other is named."""

from __future__ import annotations

import tracemalloc
import unicodedata
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import InvalidInput
from manifests.paths import PathRules, link_destination


def check(*paths: str, folders: tuple[str, ...] = (), links: dict[str, str] | None = None) -> None:
    rules = PathRules()
    for path in paths:
        rules.add_file(path)
    for path in folders:
        rules.add_folder(path)
    for path, target in (links or {}).items():
        rules.add_link(path, target)
    rules.finish()


HOSTILE = {
    "empty": "",
    "absolute": "/etc/passwd",
    "empty part": "a//b",
    "trailing slash": "a/",
    "here": "./a",
    "above": "../a",
    "above, within": "a/../../b",
    "above, at the end": "a/..",
    "drive": "C:/a",
    "drive-relative": "C:a",
    "stream": "a:b",
    "backslash": "a\\b",
    "share": "\\\\server\\a",
    "null": "a\0b",
    "newline": "a\nb",
    "delete": "a\x7f",
    "next line": "a\x85b",
    "wildcard": "a*",
    "question": "a?",
    "quote": 'a"',
    "pipe": "a|b",
    "less": "a<b",
    "greater": "a>b",
    "surrogate": "a\udc80",
    "decomposed": "e\u0301",
    "ohm sign, which NFC replaces": "\u2126",
    "trailing dot": "a.",
    "trailing dot of a folder": "a./b",
    "three dots": "...",
    "trailing space": "a ",
    "trailing space of a folder": "a /b",
    "device": "con",
    "device in capitals": "a/NUL",
    "device with a suffix": "aux.tar.gz",
    "device with a space": "prn .txt",
    "port": "COM1",
    "port zero": "lpt0.txt",
    "superscript port": "com\u00b9.x",
    "console": "CONOUT$",
    "device as a folder": "nul/a",
    "state": ".playhead/journal",
    "state itself": ".playhead",
    "state in capitals": ".PlayHead/x",
    "state in full width": ".\uff50layhead/x",
    "1,025 bytes": "/".join(["a" * 204] * 5) + "b",
    "1,025 bytes, fewer characters": "é" * 127 + ("/" + "é" * 127) * 3 + "/" + "b" * 4 + "é",
    "256 bytes in a part": "a" * 256,
    "256 bytes in a part, fewer characters": "é" * 128,
}


@pytest.mark.parametrize("path", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_path_is_refused_wherever_it_stands(path: str) -> None:
    with pytest.raises(InvalidInput):
        check(path)
    with pytest.raises(InvalidInput):
        check(folders=(path,))
    with pytest.raises(InvalidInput):
        check(links={path: "target"})


@pytest.mark.parametrize("path", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_link_leads_to_a_hostile_path(path: str) -> None:
    with pytest.raises(InvalidInput):
        check(links={"link": path})


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a b/c.d",
        ".hidden",
        "..a",
        "a..b",
        "console",
        "con1",
        "com",
        "com10",
        "a.con",
        "sub/.playhead",
        "playhead",
        "lösung/日本語.txt",
        "a" * 255,
        "/".join(["a" * 204] * 5),
        "/".join("a" * 512),
        " leading",
        "~",
        "½",
        "℀",
    ],
)
def test_an_odd_but_portable_path_is_taken(path: str) -> None:
    check(path)
    check(links={"zz-link": path})


CLASHES = {
    "twice": ["a/b", "a/b"],
    "case": ["Readme", "readme"],
    "case of a folder": ["Data/a", "data/b"],
    "case far down": ["a/b/C/d", "a/b/c/e"],
    "sharp s": ["straße", "STRASSE"],
    "ligature": ["ﬁne", "fine"],
    "full width": ["\uff41", "a"],
    "final sigma": ["ς", "Σ"],
    "through a file": ["a", "a/b"],
    "through a file, folded": ["A", "a/b"],
    "through a file, others sort between": ["a", "a/b", "a!", "a-b", "a.txt"],
    "far through a file": ["a/b", "a/b/c/d/e"],
}


@pytest.mark.parametrize("paths", CLASHES.values(), ids=CLASHES.keys())
def test_paths_that_clash_are_refused_in_any_order(paths: list[str]) -> None:
    for order in permutations(paths):
        with pytest.raises(InvalidInput):
            check(*order)
        with pytest.raises(InvalidInput):
            check(order[0], folders=tuple(order[1:]))
        with pytest.raises(InvalidInput):
            check(*order[1:], links={order[0]: "nowhere"})


def test_every_clash_is_listed() -> None:
    rules = PathRules()
    for path in ("a", "A", "b/c", "b/c", "d", "d/e", "ok"):
        rules.add_file(path)
    assert len(list(rules.clashes())) == 3


@pytest.mark.parametrize(
    "paths",
    [
        ["a/b", "a/c"],
        ["a.b", "a/b"],
        ["a!/b", "a/b", "a0/b"],
        ["x℀y", "xa/cy"],
        ["ab", "a/b"],
        ["i", "\u0131"],
    ],
)
def test_paths_that_only_look_alike_are_taken(paths: list[str]) -> None:
    for order in permutations(paths):
        check(*order)


@pytest.mark.parametrize(
    ("path", "target", "destination"),
    [
        ("a", "b", "b"),
        ("lib/a.so", "a.so.1", "lib/a.so.1"),
        ("lib/x/a", "../b/c", "lib/b/c"),
        ("lib/x/a", "../../c", "c"),
        ("lib/a", "..", ""),
        ("x/y/a", "..", "x"),
    ],
)
def test_a_link_leads_where_it_says(path: str, target: str, destination: str) -> None:
    assert link_destination(path, target) == destination
    check(links={path: target})


@pytest.mark.parametrize(
    ("links", "rule"),
    [
        ({"a": ""}, "relative path is needed"),
        ({"a": "/b"}, "relative path is needed"),
        ({"a": ".."}, "outside"),
        ({"a": "../b"}, "outside"),
        ({"x/a": "../../b"}, "outside"),
        ({"x/a": "../.playhead/b"}, "keeps its state"),
        ({"x/a": "b/../../../c"}, "'..' part"),
        ({"a": "b/../c"}, "'..' part"),
        ({"a": "./b"}, "'.' or '..' part"),
        ({"a": "b/"}, "empty"),
        ({"a": "b\\c"}, "character"),
        ({"a": "e\u0301"}, "NFC"),
        ({"a": "a"}, "through another link"),
        ({"a": "b", "b": "c"}, "through another link"),
        ({"a": "b/c", "b": "x"}, "through another link"),
        ({"a": "B/c", "b": "x"}, "through another link"),
        ({"x/y/a": "../b/c/d", "x/b": "e"}, "through another link"),
    ],
)
def test_a_link_that_leads_astray_is_refused(links: dict[str, str], rule: str) -> None:
    for order in permutations(links.items()):
        with pytest.raises(InvalidInput, match=rule):
            check(links=dict(order))


def test_no_pair_of_links_leads_out_of_the_build(tmp_path: Path) -> None:
    """``up`` is in order alone; behind it, ``..`` is the folder above the build."""
    build = tmp_path / "build"
    (build / "x" / "y").mkdir(parents=True)
    (build / "x" / "y" / "up").symlink_to("../..")
    out = "up/../../../z"
    assert not (build / "x" / "y" / out).resolve().is_relative_to(build)
    with pytest.raises(InvalidInput):
        check(links={"x/y/up": "../..", "x/y/out": out})


parts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters='<>:"|?*\\/'),
    min_size=1,
    max_size=12,
).map(lambda text: unicodedata.normalize("NFC", text))


def is_plain(part: str) -> bool:
    """Leave out what has a test of its own above: dots, spaces, devices, the state folder."""
    folded = fold(part)
    return part[-1] not in ". " and not folded.startswith(
        ("con", "prn", "aux", "nul", "com", "lpt", ".play")
    )


valid_paths = st.lists(parts.filter(is_plain), min_size=1, max_size=5).map("/".join)


@settings(max_examples=200, deadline=None)
@given(valid_paths)
def test_valid_paths_are_taken(path: str) -> None:
    check(path)


short_paths = st.lists(st.sampled_from(["a", "A", "b", "a!", "c"]), min_size=1, max_size=3).map(
    "/".join
)


@settings(max_examples=300, deadline=None)
@given(st.lists(valid_paths, max_size=30) | st.lists(short_paths, min_size=2, max_size=6))
def test_clashes_are_those_of_every_path_against_every_other(paths: list[str]) -> None:
    expected = any(is_clash(one, other) for i, one in enumerate(paths) for other in paths[:i])
    rules = PathRules()
    for path in paths:
        rules.add_file(path)
    assert (next(rules.clashes(), None) is not None) == expected


def is_clash(one: str, other: str) -> bool:
    """The rules as the specification writes them, for two paths."""
    for left, right in zip(one.split("/"), other.split("/"), strict=False):
        if left != right:
            return fold(left) == fold(right)
    return True


def fold(part: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", part).casefold())


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.booleans(), st.sampled_from([1, 1000]))
def test_any_text_is_taken_or_refused_in_few_words(text: str, is_path: bool, times: int) -> None:
    try:
        check(text * times) if is_path else check(links={"a/link": text * times})
    except InvalidInput as error:
        assert len(str(error)) < 2500


def test_deep_paths_take_little_memory() -> None:
    """Each implies 500 folders that no other shares."""
    paths = [f"{number:04}" + "/a" * 500 for number in range(1000)]
    tracemalloc.start()
    try:
        check(*paths)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()
