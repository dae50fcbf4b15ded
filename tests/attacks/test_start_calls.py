"""A mirror that answers start calls with lies: nothing of them is used, and the download goes on.

The mirror has a genuine answer to begin with, from a real edge; it serves everything else rightly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from kit.errors import FormatError, Untrusted
from manifests.lease import HEADER
from manifests.names import TitleId
from manifests.start import (
    MANIFEST_PART_SIZE_MAX,
    PART,
    Content,
    Kind,
    LeasePart,
    Part,
    Refusal,
    answer_header,
    encode_end,
    encode_part,
)
from manifests.start_reader import AnswerReader
from tests.faulty_edge import Asked, serving_faulty
from tests.folder_publisher import LIVE, TITLE
from tests.start_edges import call, edge_before, parts_of, stored
from tests.vouched_edge import BUNDLE_KEY, HEAD_KEY, VouchedWorld

pytestmark = pytest.mark.may_block

Lie = Callable[[list[Content]], bytes]

OTHER = TitleId("another-title")
TRUST, ROOT, PAGE, FIRST = range(4)


@dataclass
class Scene:
    """A vouched title behind a mirror, and what a real edge answers."""

    world: VouchedWorld
    genuine: list[Content]

    def answers(self, body: bytes) -> None:
        """Have the mirror answer start calls so."""

        async def answer(_request: web.Request, _body: bytes) -> web.Response:
            return web.Response(body=body)

        self.world.edge.start = answer

    async def install(self) -> list[str]:
        """Install what is published, whole and right; return what was asked for singly."""
        async with self.world.console() as console:
            await console.install(TITLE, self.world.game, channel=LIVE)
        assert self.world.text == TEXT
        return [path.split("/")[2] for path in self.world.asked()]


TEXT = "one " * 20_000


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    world = VouchedWorld(tmp_path)
    world.build(TEXT)
    async with edge_before(await stored(world), tmp_path / "cache") as (edge, _):
        parts = parts_of(await call(edge))
    contents = [part for part in parts if isinstance(part, Content)]
    assert len(contents) == len(parts) == 4
    async with serving_faulty(world.edge):
        yield Scene(world, contents)


def whole(parts: Sequence[Part]) -> bytes:
    return answer_header() + b"".join(map(encode_part, parts)) + encode_end()


def of_other_title(part: Content) -> Content:
    return replace(part, path=part.path.replace(f"/t/{TITLE}/", f"/t/{OTHER}/"))


def header(kind: int, path: str, size: int, span: tuple[int, int] = (0, 0)) -> bytes:
    return PART.pack(kind, 0, len(path), *span, size) + path.encode()


NOT_NEXT = "was not asked for, or is not next"

LIES: dict[str, tuple[Lie, str, list[str]]] = {
    # what the mirror sends, what is said of it, and which parts before it may be used
    "root before what vouches": (
        lambda g: whole([g[ROOT], g[TRUST], g[PAGE], g[FIRST]]),
        NOT_NEXT,
        ["m"],
    ),
    "bytes before the page that names them": (
        lambda g: whole([g[TRUST], g[ROOT], g[FIRST], g[PAGE]]),
        NOT_NEXT,
        ["h", "m", "b"],
    ),
    "the same part twice": (lambda g: whole([g[TRUST], g[ROOT], g[ROOT]]), NOT_NEXT, ["h", "m"]),
    "a third manifest": (
        lambda g: whole([*g[:3], replace(g[PAGE], path=f"/t/{TITLE}/m/{'0' * 64}")]),
        NOT_NEXT,
        ["h", "m", "m"],
    ),
    "another title's trust": (lambda g: whole([of_other_title(g[TRUST])]), NOT_NEXT, []),
    "another title's root": (
        lambda g: whole([g[TRUST], of_other_title(g[ROOT])]),
        NOT_NEXT,
        ["h"],
    ),
    "another title's bytes": (
        lambda g: whole([*g[:3], of_other_title(g[FIRST])]),
        NOT_NEXT,
        ["h", "m", "m"],
    ),
    "another channel's trust": (
        lambda g: whole([replace(g[TRUST], path=f"/t/{TITLE}/h/beta/trust")]),
        NOT_NEXT,
        [],
    ),
    "a second range that does not go on": (
        lambda g: whole([*g, replace(g[FIRST], span=(1, len(g[FIRST].body) + 1))]),
        NOT_NEXT,
        ["h", "m", "m", "b"],
    ),
    "a path that none has": (
        lambda g: whole([replace(g[TRUST], path="/trust/root.json")]),
        NOT_NEXT,
        [],
    ),
    "fewer bytes than the span has": (
        lambda g: whole([*g[:3], replace(g[FIRST], body=g[FIRST].body[:-1])]),
        "for the span",
        ["h", "m", "m"],
    ),
    "a manifest that is too large": (
        lambda g: whole([g[TRUST], replace(g[ROOT], body=bytes(MANIFEST_PART_SIZE_MAX + 1))]),
        "at most",
        ["h"],
    ),
    "a size of gigabytes, promised": (
        lambda g: answer_header() + header(Kind.CONTENT, g[TRUST].path, 0xFFFFFFFF),
        "of a size that none has",
        [],
    ),
    "a lease of a megabyte, promised": (
        lambda _: answer_header() + header(Kind.LEASE, "", 1 << 20),
        "of a size that none has",
        [],
    ),
    "a kind that none has": (
        lambda _: answer_header() + header(9, "", 0),
        "a part that none has",
        [],
    ),
    "two words on who may read": (
        lambda g: whole([g[TRUST], LeasePart("a", 900), Refusal(403, "denied", "no")]),
        "twice who may read",
        ["h"],
    ),
    "a lease behind what it is for": (
        lambda g: whole([g[TRUST], g[ROOT], LeasePart("a", 900)]),
        "behind what is read",
        ["h", "m"],
    ),
    "more behind its end": (lambda g: whole(g) + b"\0", "behind its end", ["h", "m", "m", "b"]),
    "another format": (lambda _: b"PHSA\2\0\0\0", "update the program", []),
    "something else altogether": (lambda _: b"<html>", "does not begin as one", []),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_start_answer_that_breaks_a_rule_is_refused_and_nothing_behind_is_used(
    scene: Scene, name: str
) -> None:
    lie, said, before = LIES[name]
    body = lie(scene.genuine)
    used: list[Part] = []
    with pytest.raises(FormatError, match=said):
        used.extend(AnswerReader(TITLE, LIVE).feed(body))
    assert [part.path.split("/")[3] for part in used if isinstance(part, Content)] == before
    scene.answers(body)
    asked = await scene.install()
    # What came before a lie in one piece with it is not used either.
    assert asked == ["h", "m", "m", "b"]


async def test_a_start_answer_that_ends_early_is_gone_on_with_singly(scene: Scene) -> None:
    body, at, ends = whole(scene.genuine), len(answer_header()), [0]
    for part in scene.genuine:
        size = len(encode_part(part))
        ends += [at, at + PART.size, at + PART.size + len(part.path), at + size - 1]
        at += size
    ends += [at, len(body) - 1]
    for end in ends:
        reader = AnswerReader(TITLE, LIVE)
        parts = list(reader.feed(body[:end]))
        assert not reader.is_complete
        assert parts == scene.genuine[: len(parts)]
        scene.answers(body[:end])
        asked = await scene.install()
        # All that came whole may be used: it is as good as what would be asked for singly.
        assert asked[len(asked) - 4 + len(parts) :] == ["h", "m", "m", "b"][len(parts) :]
        async with scene.world.console() as console:
            await console.uninstall(scene.world.game)


async def test_parts_of_a_start_answer_in_each_others_place_are_refused(scene: Scene) -> None:
    trust, root, page, first = scene.genuine
    scene.answers(
        whole([trust, replace(root, body=page.body), replace(page, body=root.body), first])
    )
    assert await scene.install() == ["m", "m", "b"]


async def test_bytes_of_a_start_answer_that_are_another_chunk_are_not_written(
    scene: Scene,
) -> None:
    *before, first = scene.genuine
    scene.answers(whole([*before, replace(first, body=first.body[::-1])]))
    assert await scene.install() == ["b"]


async def test_an_older_state_in_a_start_answer_moves_nobody_who_has_seen_a_newer(
    scene: Scene,
) -> None:
    head = Content(f"/{HEAD_KEY}", None, scene.world.objects[HEAD_KEY])
    scene.world.build(TEXT)
    await scene.install()
    scene.answers(whole([head, scene.genuine[TRUST]]))
    async with scene.world.console() as console:
        report = await console.update(scene.world.game)
    assert report.release == 2
    asked = scene.world.asked()
    assert [path.split("/")[2] for path in asked] == ["r"], "the release that was signed"


async def test_an_older_state_in_a_start_answer_is_refused_by_name_if_there_is_no_other(
    scene: Scene,
) -> None:
    older, objects = scene.genuine[TRUST], scene.world.objects
    scene.world.build(TEXT)
    await scene.install()
    # A head that promises more than is known has the console look at what vouches for it.
    head = msgspec.json.decode(objects[HEAD_KEY])
    head["release"]["counter"] = 99
    forged = Content(f"/{HEAD_KEY}", None, msgspec.json.encode(head))
    scene.answers(whole([forged, older]))
    objects[BUNDLE_KEY] = older.body
    async with scene.world.console() as console:
        with pytest.raises(Untrusted, match="timestamp version"):
            await console.update(scene.world.game)
    assert scene.world.text == TEXT


async def test_a_lease_in_a_start_answer_that_is_not_this_players_opens_nothing(
    scene: Scene,
) -> None:
    trust, root, page, _ = scene.genuine
    scene.answers(whole([trust, LeasePart("of-somebody-else", 900.0), root, page]))
    shown = []

    async def gate(request: web.Request, asked: Asked, _: bytes) -> web.Response | None:
        if not asked.is_bundle:
            return None
        shown.append(request.headers.get(HEADER))
        if shown[-1] != "of-somebody-else":
            return None
        problem = {"code": "lease-other-title", "detail": "it is for another title"}
        return web.json_response(problem, status=403, content_type="application/problem+json")

    scene.world.edge.fault = gate
    async with scene.world.console(give_up_after=5) as console:
        await console.install(TITLE, scene.world.game, channel=LIVE)
    assert scene.world.text == TEXT
    assert shown == ["of-somebody-else", f"a-lease-for-{TITLE}"]
