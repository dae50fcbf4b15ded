"""A publisher's logins on its machine: for its owner alone, renewed by one program at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from kit.clock import ManualClock
from kit.errors import InvalidInput, SettingsError, Unauthenticated
from playhead.credentials import Login, Logins, OriginCredentials, base_url

ORIGIN = "https://origin.example"


def kept(folder: Path, *, expires_s: float = 2000) -> Login:
    logins = Logins(folder)
    login = msgspec.structs.replace(
        logins.prepare(ORIGIN),
        publisher="acme",
        access_token="access 0",
        access_expires_s=expires_s,
        refresh_token="refresh 0",
    )
    logins.keep(login)
    return login


class Accounts:
    """Renews, and counts how often."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def renew(self, login: Login) -> Login:
        await asyncio.sleep(0)
        self.asked.append(login.refresh_token)
        number = len(self.asked)
        return msgspec.structs.replace(
            login,
            access_token=f"access {number}",
            access_expires_s=5000.0,
            refresh_token=f"refresh {number}",
        )


async def test_a_fresh_token_is_used_as_it_is(tmp_path: Path) -> None:
    login = await asyncio.to_thread(kept, tmp_path)
    accounts = Accounts()
    mine = OriginCredentials(Logins(tmp_path), login, accounts.renew, ManualClock(1000))
    assert await mine.token() == "access 0"
    assert accounts.asked == []


async def test_programs_that_renew_at_the_same_time_use_each_token_once(tmp_path: Path) -> None:
    login = await asyncio.to_thread(kept, tmp_path, expires_s=1030)
    accounts, clock = Accounts(), ManualClock(1000)
    programs = [OriginCredentials(Logins(tmp_path), login, accounts.renew, clock) for _ in range(5)]
    tokens = await asyncio.gather(*(each.token() for each in programs for _ in range(3)))
    assert set(tokens) == {"access 1"}
    assert accounts.asked == ["refresh 0"]
    found = await asyncio.to_thread(Logins(tmp_path).find, ORIGIN)
    assert found is not None
    assert found.refresh_token == "refresh 1"


async def test_a_refused_token_is_replaced(tmp_path: Path) -> None:
    login = await asyncio.to_thread(kept, tmp_path)
    mine = OriginCredentials(Logins(tmp_path), login, Accounts().renew, ManualClock(1000))
    assert await mine.renewed("access 0") == "access 1"
    assert await mine.renewed("access 0") == "access 1"


async def test_after_a_logout_there_is_no_token_and_the_key_is_there_still(tmp_path: Path) -> None:
    login = await asyncio.to_thread(kept, tmp_path, expires_s=0)
    logins = Logins(tmp_path)
    assert await asyncio.to_thread(logins.forget, ORIGIN)
    mine = OriginCredentials(logins, login, Accounts().renew, ManualClock(1000))
    with pytest.raises(Unauthenticated, match=f"playhead login {ORIGIN}"):
        await mine.token()
    again = await asyncio.to_thread(logins.prepare, ORIGIN)
    assert again.key == login.key


def test_what_others_may_read_is_refused(tmp_path: Path) -> None:
    kept(tmp_path / "config")
    (path,) = (tmp_path / "config").glob("https*.json")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="may be read by others"):
        Logins(tmp_path / "config").find(ORIGIN)


def test_secrets_are_not_in_what_is_printed(tmp_path: Path) -> None:
    assert "refresh 0" not in repr(kept(tmp_path))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://origin.example/", "https://origin.example"),
        ("http://127.0.0.1:7401", "http://127.0.0.1:7401"),
        (" http://localhost:7401/x/ ", "http://localhost:7401/x"),
    ],
)
def test_an_origin_has_one_spelling(text: str, url: str) -> None:
    assert base_url(text) == url


@pytest.mark.parametrize(
    "text", ["", "origin.example", "ftp://x", "http://origin.example", "https://", "https://x?y"]
)
def test_what_is_no_origin_or_would_be_in_the_open_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="origin"):
        base_url(text)
