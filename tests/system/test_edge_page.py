"""The status page in a real browser: what it shows, what it does, and what it may not load."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from edge.operating.page import policy_of
from tests.browser import Page, browsing
from tests.folder_publisher import TITLE
from tests.operated_edge import SECRET, Operated, Studio, operated_edge
from tests.serving import Node, running_origin

SOURCE = files("edge.operating").joinpath("page.html").read_text()


@pytest.fixture
async def studio(tmp_path: Path) -> Studio:
    studio = Studio(tmp_path)
    await studio.publish()
    return studio


@pytest.fixture
async def origin(studio: Studio) -> AsyncIterator[Node]:
    async with running_origin(studio.storage) as origin:
        yield origin


@pytest.fixture
async def operated(origin: Node, tmp_path: Path) -> AsyncIterator[Operated]:
    async with operated_edge(tmp_path / "cache", origin.url) as operated:
        yield operated


@pytest.fixture
async def page(operated: Operated, tmp_path: Path) -> AsyncIterator[Page]:
    async with browsing(tmp_path / "profile") as page:
        await page.open(operated.node.url + "/edge/")
        yield page


async def sign_in(page: Page, secret: str = SECRET) -> None:
    await page.value(f"document.getElementById('token').value = {secret!r}")
    await page.value("document.getElementById('login-form').requestSubmit()")


async def press(page: Page, selector: str) -> None:
    await page.value(f"document.querySelector({selector!r}).click()")


async def is_asked(page: Page, title: str) -> None:
    await page.holds("document.getElementById('ask').open")
    await page.shows("#ask-title", title)


async def name_target(page: Page, text: str) -> None:
    await page.value(f"document.getElementById('target').value = {text!r}")


@pytest.mark.slow
@pytest.mark.may_block
async def test_it_asks_for_the_secret_and_shows_the_edge(page: Page, operated: Operated) -> None:
    await sign_in(page, "wrong")
    await page.shows("#login-said", "operator secret")
    assert await page.value("document.getElementById('tiles').checkVisibility()") is False
    await sign_in(page)
    await page.shows("#state", "serving")
    await page.shows("#tiles", "bytes from cache")
    await page.shows("#upstreams", "healthy")
    await page.shows("#cache", "used")
    assert await page.value("document.getElementById('login').checkVisibility()") is False
    assert await page.value("document.getElementById('token').value") == ""


@pytest.mark.slow
@pytest.mark.may_block
async def test_it_shows_a_warm_and_what_players_then_take(page: Page, operated: Operated) -> None:
    await sign_in(page)
    warm = await operated.warmed()
    await page.shows("#warms", TITLE)
    await page.shows("#warms", "done")
    ratio = "(() => { const bar = document.querySelector('#warms progress');"
    assert await page.value(ratio + " return bar.value / bar.max; })()") == 1
    root = warm["release"]["root"]["digest"]
    assert (await operated.node.ask(f"/t/{TITLE}/m/{root}")).status == 200
    await page.shows("#tiles", "100.0 %")
    await page.shows("#curve-title", "Throughput: ")
    points = await page.value("document.getElementById('upstream-line').getAttribute('points')")
    assert len(points.split()) >= 1


@pytest.mark.slow
@pytest.mark.may_block
async def test_it_purges_after_a_dry_run_and_a_yes(page: Page, operated: Operated) -> None:
    warm = await operated.warmed()
    await sign_in(page)
    await page.shows("#state", "serving")
    root = f"/t/{TITLE}/m/{warm['release']['root']['digest']}"
    await name_target(page, root)
    await press(page, "button[value=hard]")
    await page.shows("#target-said", "dry run: 1 objects")
    await is_asked(page, f"Purge {root}?")
    await press(page, "#ask button[value=no]")
    await page.shows("#target-said", "left as it was")
    assert (await operated.get(f"explain{root}"))["cached"] is True
    await press(page, "button[value=hard]")
    await is_asked(page, f"Purge {root}?")
    await press(page, "#ask-yes")
    await page.shows("#target-said", "purged: 1 objects")
    assert (await operated.get(f"explain{root}"))["gone"] == "purged by an operator"
    await press(page, "button[value=explain]")
    await page.shows("#target-said", "not cached: purged by an operator")


@pytest.mark.slow
@pytest.mark.may_block
async def test_it_drains_and_undrains(page: Page, operated: Operated) -> None:
    await sign_in(page)
    await page.shows("#state", "serving")
    await press(page, "#drain")
    await is_asked(page, "Drain?")
    await press(page, "#ask-yes")
    await page.shows("#state", "draining")
    assert operated.node.binder.state.is_draining
    await press(page, "#drain")
    await is_asked(page, "Take traffic again?")
    await press(page, "#ask-yes")
    await page.shows("#state", "serving")
    assert not operated.node.binder.state.is_draining


@pytest.mark.slow
@pytest.mark.may_block
async def test_it_asks_nobody_but_its_edge_and_breaks_no_policy(
    page: Page, operated: Operated
) -> None:
    await sign_in(page)
    await page.shows("#state", "serving")
    assert all(url.startswith((operated.node.url, "data:")) for url in page.asked), page.asked
    assert page.console == []
    # Neither may whoever gets a word into it.
    script = (
        "new Promise(done => { const it = document.createElement('script');"
        "it.textContent = 'window.isOwned = true'; document.body.append(it);"
        "const style = document.createElement('style'); style.textContent = 'body{color:red}';"
        "document.head.append(style); setTimeout(() => done(String(window.isOwned)), 50); })"
    )
    assert await page.value(script) == "undefined"
    refused = "fetch('http://127.0.0.1:9/').then(() => 'let out', error => String(error))"
    assert "TypeError" in await page.value(refused)
    assert any("Content Security Policy" in said for said in page.console)


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.parametrize("is_dark", [False, True])
async def test_its_text_can_be_read_in_light_and_dark(
    page: Page, tmp_path: Path, is_dark: bool
) -> None:
    await page.screenshot(tmp_path / "page.png", dark=is_dark)
    await sign_in(page)
    await page.shows("#state", "serving")
    seen = await page.value(CONTRASTS)
    assert len(seen) > 20
    assert {pair: ratio for pair, ratio in seen.items() if ratio < 4.5} == {}


@pytest.mark.slow
@pytest.mark.may_block
async def test_nothing_is_cut_off_on_a_telephone(page: Page, tmp_path: Path) -> None:
    await page.screenshot(tmp_path / "page.png", dark=False, width=360)
    await sign_in(page)
    await page.shows("#state", "serving")
    assert await page.value("document.documentElement.scrollWidth") <= 360


CONTRASTS = """
(() => {
  const channels = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (of) => {
    for (; of; of = of.parentElement) {
      const found = channels(getComputedStyle(of).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const found = {};
  for (const each of document.querySelectorAll("h1,h2,b,span,dt,dd,th,td,button,label,p")) {
    if (!each.checkVisibility() || !each.textContent.trim()) continue;
    const [ink, paper] = [light(channels(getComputedStyle(each).color)), light(ground(each))];
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    found[each.tagName + " " + each.className + " " + each.textContent.trim().slice(0, 30)] = ratio;
  }
  return found;
})()
"""


class _Reading(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def tags() -> list[tuple[str, dict[str, str | None]]]:
    reading = _Reading()
    reading.feed(SOURCE)
    return reading.tags


def test_the_page_names_no_address_and_has_nothing_inline_that_its_policy_forbids() -> None:
    assert re.findall(r"https?://(?!\[)", SOURCE.replace("/^https?:\\/\\/", "")) == []
    for tag, attributes in tags():
        assert "style" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes), tag
        assert "src" not in attributes, tag
    assert "innerHTML" not in SOURCE
    assert "unsafe" not in policy_of(SOURCE)


def test_every_field_has_a_label_and_every_picture_a_name() -> None:
    found = tags()
    for tag, attributes in found:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-labelledby"]
        if tag == "html":
            assert attributes["lang"] == "en"
    inputs = [a for tag, a in found if tag == "input" and "hidden" not in a]
    assert len(re.findall(r"<label>.*?<input .*?</label>", SOURCE, re.DOTALL)) == len(inputs)


async def test_the_page_is_served_with_a_policy_and_without_a_secret(operated: Operated) -> None:
    reply = await operated.node.ask("/edge/")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert reply.headers["X-Frame-Options"] == "DENY"
    assert SECRET.encode() not in reply.body
