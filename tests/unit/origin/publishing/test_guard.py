"""Publishers at the door: known or not, and not too many at once."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from aiohttp import web

from kit.errors import Unauthenticated
from kit.service import Binder
from manifests.publishing_scope import Scope
from origin.publishing.caller import Caller, Guard
from tests.polling import eventually
from tests.publishing_service import SCOPE
from tests.serving import LISTEN, Reply, running


def check_token(token: str) -> tuple[Scope, str]:
    if token == "bad":
        raise Unauthenticated("who?")
    return msgspec.structs.replace(SCOPE, publisher=token), "grant"


async def test_one_publisher_cannot_take_the_places_of_others() -> None:
    guard, binder, opened = Guard(check_token, 3, 2), Binder("origin", LISTEN), asyncio.Event()
    waiting: list[str] = []

    async def wait(caller: Caller, _request: web.Request) -> web.Response:
        waiting.append(caller.scope.publisher)
        await opened.wait()
        return web.Response()

    binder.routes(web.get("/wait", guard.known(wait)))
    async with running(binder) as node, asyncio.TaskGroup() as tasks:

        def ask(publisher: str) -> asyncio.Task[Reply]:
            return tasks.create_task(node.ask("/wait", Authorization=f"Bearer {publisher}"))

        let_in = [ask("greedy"), ask("greedy")]

        async def are_in(count: int) -> bool:
            return len(waiting) == count

        await eventually(lambda: are_in(2))
        assert (await ask("greedy")).status == 503
        let_in.append(ask("modest"))
        await eventually(lambda: are_in(3))
        refused = await ask("third")
        assert (refused.status, refused.json()["code"]) == (503, "overloaded")
        opened.set()
        assert [(await each).status for each in let_in] == [200, 200, 200]
        assert (await ask("greedy")).status == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer bad"])
async def test_who_is_not_known_is_asked_who_it_is(header: str) -> None:
    guard, binder = Guard(check_token, 3, 2), Binder("origin", LISTEN)

    async def never(_caller: Caller, _request: web.Request) -> web.Response:
        raise AssertionError("let in")

    binder.routes(web.get("/", guard.known(never)))
    async with running(binder) as node:
        assert (await node.ask("/", Authorization=header)).status == 401
