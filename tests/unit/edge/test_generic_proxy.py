"""The plain cache without its listener: what depends on who comes when."""

from __future__ import annotations

from edge.generic.answer import Answer
from edge.generic.incoming import Incoming
from edge.generic.proxy import Proxy
from edge.generic.settings import GenericSettings
from edge.generic.store import ResponseStore
from edge.generic.upstream import Upstream
from kit.clock import ManualClock
from kit.http_semantics.fields import Fields
from kit.http_semantics.messages import RequestHead, ResponseHead
from tests.conformance.http_cache.behaviours import reply
from tests.conformance.http_cache.cache import NOON
from tests.conformance.http_cache.origin import Origin
from tests.polling import eventually


async def _no_interim(head: ResponseHead) -> None:
    raise AssertionError(head)


ASKED = Incoming(
    RequestHead("GET", "/", Fields((("Host", "example.org"),))), "example.org", None, _no_interim
)


async def test_what_came_since_it_was_looked_up_is_not_asked_for_again() -> None:
    async with Origin().serving() as origin:
        origin.reply = reply(("Cache-Control", "max-age=60"), body=b"x")
        settings, clock = GenericSettings(upstream=origin.url), ManualClock(NOON)
        upstream, store = Upstream(settings, clock), ResponseStore(1 << 20, 4)
        proxy = Proxy(settings, upstream, store, clock)
        first, second = proxy.at_once(ASKED), proxy.at_once(ASKED)
        assert not isinstance(first, Answer)
        assert not isinstance(second, Answer)
        await proxy.answer(first, ASKED)

        async def is_stored() -> bool:
            return isinstance(proxy.at_once(ASKED), Answer)

        await eventually(is_stored)
        answer = await proxy.answer(second, ASKED)
        assert answer.result == "collapsed"
        assert len(origin.asked) == 1
        await proxy.close()
