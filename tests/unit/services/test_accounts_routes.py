"""Accounts over HTTP: logins, refresh, operators, and who guesses."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

import services.accounts.routes
from kit.clock import ManualClock
from kit.errors import Unauthenticated
from kit.service import Binder
from services.accounts.account_file import GrantFile, account_secrets
from services.accounts.accounts import Accounts
from services.accounts.grants import Grant
from services.accounts.routes import DEVICE_GRANT
from services.accounts.settings import AccountsSettings
from tests.serving import LISTEN, Node, Reply, running

SCOPE = {"publisher": "acme", "titles": ["game"], "channels": ["live"]}
SETTINGS = AccountsSettings(guesses_per_minute=5, logins_per_minute=10)
SECRET = "what operators know"


@dataclass
class Desk:
    node: Node
    clock: ManualClock
    folder: Path
    check_token: Any
    noted: list[str]

    async def form(self, path: str, **fields: str) -> Reply:
        return await self.send("POST", path, urlencode(fields).encode())

    async def operator(self, path: str, content: object = None, secret: str | None = None) -> Reply:
        method = "GET" if content is None else "POST"
        body = b"" if content is None else msgspec.json.encode(content)
        token = SECRET if secret is None else secret
        headers = {"Authorization": f"Bearer {token}"}
        return await self.send(method, f"/accounts/v1/{path}", body, headers)

    async def send(
        self, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
    ) -> Reply:
        session = self.node.session
        async with session.request(
            method, self.node.url + path, data=body or None, headers=headers
        ) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    async def logged_in(self) -> dict[str, Any]:
        begun = (await self.form("/oauth/device_authorization")).json()
        asked = {"user_code": begun["user_code"], "scope": SCOPE}
        assert (await self.operator("logins/approve", asked)).status == 200
        return dict((await self.poll(begun["device_code"])).json())

    async def poll(self, device_code: str) -> Reply:
        return await self.form("/oauth/token", grant_type=DEVICE_GRANT, device_code=device_code)

    async def refresh(self, token: str) -> Reply:
        return await self.form("/oauth/token", grant_type="refresh_token", refresh_token=token)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = ManualClock(1_800_000_000)
    binder, noted = Binder("origin", LISTEN), list[str]()

    def open_accounts() -> Accounts:
        found = account_secrets(tmp_path / "keys")
        file = GrantFile(tmp_path / "accounts")
        return Accounts(SETTINGS, found, file, clock=clock, random=secrets.token_bytes)

    async def note(*, what: str, grant: Grant, address: str) -> None:
        noted.append(f"{what} {grant.scope.publisher}")

    check_token = services.accounts.routes.bind(
        binder,
        open_accounts,
        lambda: SECRET,
        settings=SETTINGS,
        clock=clock,
        note=note,
    )
    async with running(binder) as node:
        yield Desk(node, clock, tmp_path, check_token, noted)


async def test_an_approved_login_brings_a_token_that_is_good_for_its_scope(desk: Desk) -> None:
    begun = (await desk.form("/oauth/device_authorization", machine="build-7")).json()
    pending = await desk.poll(begun["device_code"])
    assert (pending.status, pending.json()["error"]) == (400, "authorization_pending")
    asked = {"user_code": begun["user_code"], "scope": SCOPE}
    granted = (await desk.operator("logins/approve", asked)).json()
    assert granted["machine"] == "build-7"
    desk.clock.advance(5)
    tokens = (await desk.poll(begun["device_code"])).json()
    scope, grant_id = desk.check_token(tokens["access_token"])
    assert (scope.publisher, scope.titles, grant_id) == ("acme", ("game",), granted["grant_id"])
    assert desk.noted == ["approve acme"]


async def test_an_access_token_expires_and_is_renewed(desk: Desk) -> None:
    tokens = await desk.logged_in()
    desk.clock.advance(tokens["expires_in"] + 1)
    with pytest.raises(Unauthenticated, match="expired"):
        desk.check_token(tokens["access_token"])
    renewed = (await desk.refresh(tokens["refresh_token"])).json()
    assert desk.check_token(renewed["access_token"])[0].publisher == "acme"


async def test_a_refresh_token_used_by_two_ends_the_login_at_once(desk: Desk) -> None:
    tokens = await desk.logged_in()
    thief = (await desk.refresh(tokens["refresh_token"])).json()
    owner = (await desk.refresh(tokens["refresh_token"])).json()
    caught = await desk.refresh(thief["refresh_token"])
    assert (caught.status, caught.json()) == (400, {"error": "invalid_grant"})
    for each in (tokens, thief, owner):
        with pytest.raises(Unauthenticated, match="revoked"):
            desk.check_token(each["access_token"])


async def test_what_was_revoked_is_refused_at_once(desk: Desk) -> None:
    tokens = await desk.logged_in()
    assert len((await desk.operator("grants")).json()) == 1
    await desk.operator("grants/revoke", {"which": "acme"})
    with pytest.raises(Unauthenticated, match="revoked"):
        desk.check_token(tokens["access_token"])
    assert (await desk.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert desk.noted == ["approve acme", "revoke acme"]


async def test_grants_outlive_the_process(desk: Desk) -> None:
    await desk.logged_in()
    found = await asyncio.to_thread(GrantFile(desk.folder / "accounts").read)
    assert [grant.scope.publisher for grant in found.values()] == ["acme"]
    mode = (desk.folder / "accounts" / "grants.json").stat
    assert (await asyncio.to_thread(mode)).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("secret", ["", "wrong", "ü"])
async def test_nobody_but_an_operator_decides(desk: Desk, secret: str) -> None:
    begun = (await desk.form("/oauth/device_authorization")).json()
    asked = {"user_code": begun["user_code"], "scope": SCOPE}
    assert (await desk.operator("logins/approve", asked, secret)).status == 401
    assert (await desk.poll(begun["device_code"])).json()["error"] == "authorization_pending"


async def test_whoever_guesses_secrets_is_locked_out_for_a_while(desk: Desk) -> None:
    for _ in range(5):
        assert (await desk.operator("grants", secret="wrong")).status == 401
    assert (await desk.operator("grants")).status == 429
    desk.clock.advance(60)
    assert (await desk.operator("grants")).status == 200


async def test_whoever_guesses_device_codes_is_locked_out_for_a_while(desk: Desk) -> None:
    begun = (await desk.form("/oauth/device_authorization")).json()
    for guess in range(5):
        assert (await desk.poll(f"{guess}" * 43)).json()["error"] == "invalid_grant"
    refused = await desk.poll(begun["device_code"])
    assert (refused.status, refused.json()["error"]) == (429, "slow_down")
    desk.clock.advance(60)
    assert (await desk.poll(begun["device_code"])).json()["error"] == "authorization_pending"


async def test_logins_from_one_address_are_limited(desk: Desk) -> None:
    statuses = [(await desk.form("/oauth/device_authorization")).status for _ in range(11)]
    assert statuses == [200] * 10 + [429]


async def test_other_grants_and_large_forms_are_refused(desk: Desk) -> None:
    found = await desk.form("/oauth/token", grant_type="password", password="x")
    assert found.json()["error"] == "unsupported_grant_type"
    assert (await desk.form("/oauth/token", grant_type="x" * 20_000)).status == 413


async def test_what_a_machine_calls_itself_cannot_write_on_a_terminal(desk: Desk) -> None:
    await desk.form("/oauth/device_authorization", machine="a\x1b[2Jb\nc" + "d" * 500)
    (waiting,) = (await desk.operator("logins")).json()
    assert waiting["machine"].startswith("a[2Jbcd")
    assert len(waiting["machine"]) == 100
