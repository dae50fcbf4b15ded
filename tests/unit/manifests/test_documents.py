"""Head, release and root: read when they are whole and of this title, refused by name otherwise."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.chunk_id import digest_of
from kit.errors import FormatError, IntegrityError
from manifests.documents import (
    CHUNK_COUNT_MAX,
    DOCUMENT_SIZE_MAX,
    ENTRY_COUNT_MAX,
    GROUP_COUNT_MAX,
    PAGE_COUNT_MAX,
    ROOT_SIZE_MAX,
    Release,
    Root,
    encode,
    parse_delta_set,
    parse_head,
    parse_release,
    parse_root,
)
from manifests.names import Channel, TitleId

TITLE, LIVE = TitleId("celeste"), Channel("live")
HEX = "0123456789abcdef" * 4

Json = dict[str, Any]


def release_json() -> Json:
    return {
        "format": 1,
        "title": "celeste",
        "counter": 7,
        "version": "1.4.0",
        "created_at": "2026-05-04T10:00:00Z",
        "root": {"digest": HEX, "size": 2113},
    }


def head_json() -> Json:
    return {
        "format": 1,
        "title": "celeste",
        "channel": "live",
        "release": release_json(),
        "deltas": [
            {
                "base": 6,
                "target": 7,
                "index": {"digest": HEX, "size": 17768},
                "manifest": {"digest": HEX, "size": 10321},
            }
        ],
    }


def delta_set_json() -> Json:
    return {
        "format": 1,
        "title": "celeste",
        "base": 6,
        "target": 7,
        "index": {"digest": HEX, "size": 17768},
        "count": 14,
        "size": 3822989,
        "target_size": 108930326,
        "plain_size": 33674143,
        "manifest": {"digest": HEX, "size": 10321},
    }


def page_json(entries: int = 3, chunks: int = 5) -> Json:
    return {"digest": HEX, "size": 7421, "entry_count": entries, "chunk_count": chunks}


def group_json(name: str = "launch", *pages: Json) -> Json:
    pages = pages or (page_json(), page_json(1, 0))
    return {
        "name": name,
        "entry_count": sum(page["entry_count"] for page in pages),
        "chunk_count": sum(page["chunk_count"] for page in pages),
        "size": 268435456,
        "pages": list(pages),
    }


def root_json(*groups: Json) -> Json:
    return {"format": 1, "title": "celeste", "groups": list(groups or (group_json(),))}


def compact(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def read_head(data: bytes) -> object:
    return parse_head(data, TITLE, LIVE)


def read_release(data: bytes) -> object:
    return parse_release(data, TITLE, 7)


def read_delta_set(data: bytes) -> object:
    return parse_delta_set(data, TITLE, 6, 7)


def read_root(data: bytes) -> Root:
    return parse_root(data, digest_of(data), TITLE)


READERS: list[tuple[Callable[[bytes], Any], Callable[[], Json]]] = [
    (read_head, head_json),
    (read_release, release_json),
    (read_delta_set, delta_set_json),
    (read_root, root_json),
]
of_each_kind = pytest.mark.parametrize(
    ("read", "good"), READERS, ids=["head", "release", "delta-set", "root"]
)


@of_each_kind
def test_a_document_is_written_as_the_specification_orders_it(
    read: Callable[[bytes], Any], good: Callable[[], Json]
) -> None:
    data = compact(good())
    assert encode(read(data)) == data


@of_each_kind
def test_any_order_and_white_space_is_read(
    read: Callable[[bytes], Any], good: Callable[[], Json]
) -> None:
    assert read(json.dumps(good(), indent=2, sort_keys=True).encode()) == read(compact(good()))


@of_each_kind
def test_another_version_is_said_so(read: Callable[[bytes], Any], good: Callable[[], Json]) -> None:
    """Even if nothing else of it is as this version has it."""
    with pytest.raises(FormatError, match=r"format 2; this program reads 1: update"):
        read(compact(good() | {"format": 2}))
    with pytest.raises(FormatError, match="update the program"):
        read(compact({"format": 10**30, "what": ["ever"]}))


def test_another_version_of_the_release_within_a_head_is_said_so() -> None:
    with pytest.raises(FormatError, match="update the program"):
        read_head(compact(head_json() | {"release": {"format": 2}}))


@of_each_kind
@pytest.mark.parametrize("value", [None, True, "1", 1.5, [], {}])
def test_a_version_that_is_no_number_is_refused(
    read: Callable[[bytes], Any], good: Callable[[], Json], value: object
) -> None:
    with pytest.raises(FormatError):
        read(compact(good() | {"format": value}))


def paths_in(value: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return where every value of a document stands."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [at, *(path for key, of in inner for path in paths_in(of, (*at, key)))]


def changed(
    document: Json, path: tuple[str | int, ...], change: Callable[[Any, Any], None]
) -> bytes:
    copy: Any = json.loads(json.dumps(document))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    change(holder, path[-1])
    return compact(copy)


EVERY_KEY = [
    pytest.param(read, good(), path, id=f"{good.__name__} {'.'.join(map(str, path))}")
    for read, good in READERS
    for path in paths_in(good())[1:]
    if isinstance(path[-1], str)
]


@pytest.mark.parametrize(("read", "good", "path"), EVERY_KEY)
def test_every_key_is_needed(
    read: Callable[[bytes], Any], good: Json, path: tuple[str | int, ...]
) -> None:
    if path == ("deltas",):
        assert read(changed(good, path, lambda holder, key: holder.pop(key))) == read(
            changed(good, path, lambda holder, key: holder.update({key: []}))
        )
        return
    if path[-1] == "manifest":
        without = read(changed(good, path, lambda holder, key: holder.pop(key)))
        assert without == read(changed(good, path, lambda holder, key: holder.update({key: None})))
        return
    with pytest.raises(FormatError):
        read(changed(good, path, lambda holder, key: holder.pop(key)))


@pytest.mark.parametrize(("read", "good", "path"), EVERY_KEY)
def test_no_other_key_may_stand_beside(
    read: Callable[[bytes], Any], good: Json, path: tuple[str | int, ...]
) -> None:
    with pytest.raises(FormatError, match="unknown field"):
        read(changed(good, path, lambda holder, key: holder.update({"other": 1})))


@pytest.mark.parametrize(("read", "good", "path"), EVERY_KEY)
@pytest.mark.parametrize("value", [None, True, -1, 0.5, "\x00", [], [1], {}, 10**25])
def test_every_value_has_its_type(
    read: Callable[[bytes], Any], good: Json, path: tuple[str | int, ...], value: object
) -> None:
    if path == ("deltas",) and value == []:
        return  # none is a fine number of delta sets
    if path[-1] == "manifest" and value is None:
        return  # as if it were not there
    with pytest.raises(FormatError):
        read(changed(good, path, lambda holder, key: holder.update({key: value})))


def with_release(**values: object) -> bytes:
    return compact(release_json() | values)


@pytest.mark.parametrize(
    "data",
    [
        with_release(counter=0),
        with_release(counter=10**10),
        with_release(version=""),
        with_release(version="1 0"),
        with_release(created_at="2026-05-04T10:00:00"),
        with_release(created_at="2026-05-04 10:00:00Z"),
        with_release(created_at="2026-13-04T10:00:00Z"),
        with_release(created_at="2026-02-30T10:00:00Z"),
        with_release(created_at="2026-05-04T24:00:01Z"),
        with_release(created_at="0000-05-04T10:00:00Z"),
        with_release(created_at="\u0662026-05-04T10:00:00Z"),
        with_release(created_at="2026-05-04T10:00:00Z\n"),
        with_release(root={"digest": HEX.upper(), "size": 1}),
        with_release(root={"digest": HEX[1:], "size": 1}),
        with_release(root={"digest": HEX, "size": 0}),
        with_release(root={"digest": HEX, "size": ROOT_SIZE_MAX + 1}),
    ],
)
def test_a_release_out_of_range_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="release 7 of celeste"):
        read_release(data)


def test_the_largest_release_is_read() -> None:
    values = {"counter": 9_999_999_999, "version": "9" * 64}
    root = {"digest": HEX, "size": ROOT_SIZE_MAX}
    data = with_release(**values, root=root)
    assert isinstance(parse_release(data, TITLE, 9_999_999_999), Release)


def test_what_belongs_to_another_is_refused() -> None:
    for data, rule in (
        (head_json() | {"title": "other"}, "of 'other'"),
        (head_json() | {"channel": "beta"}, "of 'beta'"),
        (head_json() | {"release": release_json() | {"title": "other"}}, "of 'other'"),
    ):
        with pytest.raises(FormatError, match=rule):
            read_head(compact(data))
    with pytest.raises(FormatError, match="of '8'"):
        read_release(with_release(counter=8))
    with pytest.raises(FormatError, match="of 'other'"):
        read_release(with_release(title="other"))
    with pytest.raises(FormatError, match="of 'other'"):
        read_root(compact(root_json() | {"title": "other"}))


def test_a_root_is_believed_only_by_its_digest() -> None:
    data = compact(root_json())
    with pytest.raises(IntegrityError, match="root"):
        parse_root(data, digest_of(data + b" "), TITLE)


def many_groups(count: int) -> Json:
    return root_json(*(group_json(f"g{number}", page_json(1, 1)) for number in range(count)))


@pytest.mark.parametrize(
    ("root", "rule"),
    [
        (root_json() | {"groups": []}, "length"),
        (root_json(group_json("launch"), group_json("launch")), "same name"),
        (root_json(group_json() | {"name": "Launch"}), "regex"),
        (root_json(group_json() | {"name": "x" * 33}), "regex"),
        (root_json(group_json() | {"entry_count": 5}), "do not add up"),
        (root_json(group_json() | {"chunk_count": 4}), "do not add up"),
        (root_json(group_json() | {"pages": []}), "length"),
        (root_json(group_json("launch", page_json(0, 0))), ">= 1"),
        (root_json(group_json() | {"size": CHUNK_COUNT_MAX * (1 << 20) + 1}), "<="),
        (root_json(group_json("launch", page_json(1, 1) | {"size": (32 << 20) + 1})), "<="),
        (many_groups(GROUP_COUNT_MAX + 1), "length"),
        (
            root_json(
                group_json("a", page_json(ENTRY_COUNT_MAX, 1)), group_json("b", page_json(1, 1))
            ),
            "1000001 entries",
        ),
        (
            root_json(
                group_json("a", page_json(1, CHUNK_COUNT_MAX)), group_json("b", page_json(1, 1))
            ),
            "4000001 chunks",
        ),
        (
            root_json(
                group_json("a", *[page_json(1, 1)] * PAGE_COUNT_MAX),
                group_json("b", page_json(1, 1)),
            ),
            "4097 pages",
        ),
    ],
)
def test_a_root_that_breaks_a_limit_or_a_sum_is_refused(root: Json, rule: str) -> None:
    with pytest.raises(FormatError, match=rule):
        read_root(compact(root))


def test_the_largest_root_is_read() -> None:
    pages = [page_json(200, 900) | {"size": 32 << 20}] * (PAGE_COUNT_MAX // GROUP_COUNT_MAX)
    groups = (group_json(f"{number:032}", *pages) for number in range(GROUP_COUNT_MAX))
    data = compact(root_json(*groups))
    assert len(data) <= ROOT_SIZE_MAX
    assert read_root(data).installed_size == GROUP_COUNT_MAX * 268435456


@pytest.mark.parametrize(
    ("read", "size_max"), [(read_head, DOCUMENT_SIZE_MAX), (read_root, ROOT_SIZE_MAX)]
)
def test_too_many_bytes_are_refused_before_they_are_read(
    read: Callable[[bytes], Any], size_max: int
) -> None:
    with pytest.raises(FormatError, match=f"at most {size_max}"):
        read(b" " * (size_max + 1))


NOT_DOCUMENTS = {
    "nothing": b"",
    "null": b"null",
    "list": b"[]",
    "number": b"1",
    "cut": compact(head_json())[:-1],
    "two": compact(head_json()) * 2,
    "UTF-16": json.dumps(head_json()).encode("utf-16"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + compact(head_json()),
    "not UTF-8": b'{"format":1,"title":"\xff"}',
    "lone surrogate": b'{"format":1,"title":"\\ud800"}',
    "deep": b'{"format":1,"x":' + b"[" * 8000,
    "deep and whole": b'{"x":' + b"[" * 8000 + b"]" * 8000 + b',"format":1}',
    "deep where a type is known": b'{"format":1,"release":' + b'{"root":' * 1900,
}


@pytest.mark.parametrize("data", NOT_DOCUMENTS.values(), ids=NOT_DOCUMENTS.keys())
@pytest.mark.parametrize("read", [read_head, read_release, read_root])
def test_what_is_no_document_is_refused(read: Callable[[bytes], Any], data: bytes) -> None:
    with pytest.raises(FormatError, match="celeste"):
        read(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_change_of_a_byte_raises_anything_else(data: st.DataObject) -> None:
    read, good = data.draw(st.sampled_from(READERS))
    raw = bytearray(compact(good()))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        read(bytes(raw))


def test_a_release_that_no_reader_takes_cannot_be_made() -> None:
    good = parse_release(compact(release_json()), TITLE, 7)
    for values in (
        {"created_at": "2026-02-30T10:00:00Z"},
        {"root": msgspec.structs.replace(good.root, size=2 << 20)},
    ):
        with pytest.raises(ValueError, match=r"day|root"):
            msgspec.structs.replace(good, **values)
