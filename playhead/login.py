"""Logging in at an origin: the device grant from the publisher's side (RFC 8628)."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from kit.clock import Clock
from kit.errors import Denied, Interrupted, NotFound, Unauthenticated, Unavailable
from kit.http_client import HttpClient
from playhead.credentials import Login, Logins, base_url
from playhead.keys.signers import public_fields
from playhead.settings import Settings

ANSWER_SIZE_MAX = 64 << 10
CLIENT_ID = "playhead"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
REMEMBERED_NAME = "origin"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


class _Begun(msgspec.Struct, frozen=True):
    device_code: str
    user_code: str
    verification_uri: str
    expires_in: float
    interval: float = 5.0


class _Granted(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float
    refresh_token: str
    publisher: str
    titles: tuple[str, ...]
    channels: tuple[str, ...]


class _Refused(msgspec.Struct, frozen=True):
    error: str
    error_description: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a person needs to know while an operator has not decided."""

    user_code: str
    url: str
    key_id: str
    expires_in_s: float


def logins_of(settings: Settings) -> Logins:
    """Return this user's logins."""
    return Logins(settings.packager.credentials_dir.expanduser())


def remembered_origin(settings: Settings) -> str:
    """Return where publishers' commands go: by settings, or by the last login. Reads a file."""
    if settings.packager.origin:
        return base_url(settings.packager.origin)
    with suppress(FileNotFoundError):
        return base_url(_remembered(settings).read_text(encoding="utf-8"))
    return ""


def remember(settings: Settings, origin: str) -> None:
    """Let publishers' commands with this ``data`` go to ``origin``; empty: stay here."""
    path = _remembered(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    if origin:
        path.write_text(origin + "\n", encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


async def log_in(
    url: str,
    logins: Logins,
    client: HttpClient,
    *,
    say: Callable[[Waiting], None],
    clock: Clock,
    sleep: Sleep = asyncio.sleep,
) -> Login:
    """Wait until an operator of the platform has approved this machine, and keep what it brings.

    Raises:
        Denied: The operator refused.
        Interrupted: Nobody decided in time.
        Unavailable: The origin does not answer.
    """
    origin = base_url(url)
    login = await asyncio.to_thread(logins.prepare, origin)
    form = {
        "client_id": CLIENT_ID,
        "scope": "publish",
        "publisher_key": msgspec.json.encode(public_fields(login.key.key)).decode(),
        "machine": platform.node(),
    }
    begun = await _asked(client, f"{origin}/oauth/device_authorization", form, _Begun)
    if isinstance(begun, _Refused):
        raise Unavailable(f"{origin}: {begun.error_description or begun.error}")
    say(Waiting(begun.user_code, begun.verification_uri, login.key.key.keyid, begun.expires_in))
    granted = await _polled(client, origin, begun, clock, sleep)
    login = _with(login, granted, clock)
    async with logins.locked():
        await asyncio.to_thread(logins.keep, login)
    return login


async def renew(client: HttpClient, login: Login, clock: Clock) -> Login:
    """Return a login with new tokens.

    Raises:
        Unauthenticated: It is over: revoked, expired, or used by two.
        Unavailable: The origin does not answer.
    """
    form = {"grant_type": "refresh_token", "refresh_token": login.refresh_token}
    form["client_id"] = CLIENT_ID
    found = await _asked(client, f"{login.origin}/oauth/token", form, _Granted)
    if isinstance(found, _Refused):
        if found.error == "invalid_grant":
            raise Unauthenticated(
                f"the login at {login.origin} is over (expired or revoked): "
                f"`playhead login {login.origin}`"
            )
        raise Unavailable(f"{login.origin}: {found.error_description or found.error}")
    return _with(login, found, clock)


async def _polled(
    client: HttpClient, origin: str, begun: _Begun, clock: Clock, sleep: Sleep
) -> _Granted:
    interval_s, give_up_s = begun.interval, clock.monotonic() + begun.expires_in
    form = {"grant_type": DEVICE_GRANT, "device_code": begun.device_code, "client_id": CLIENT_ID}
    while clock.monotonic() < give_up_s:
        await sleep(interval_s)
        try:
            found = await _asked(client, f"{origin}/oauth/token", form, _Granted)
        except Unavailable:
            interval_s *= 2  # RFC 8628, section 3.5: back off from what does not answer
            continue
        match found:
            case _Granted():
                return found
            case _Refused(error="authorization_pending"):
                pass
            case _Refused(error="slow_down"):
                interval_s += 5
            case _Refused(error="access_denied"):
                raise Denied(f"{origin}: the operator refused this login")
            case _Refused():
                break
    raise Interrupted(f"{origin}: code {begun.user_code} was not approved in time: log in again")


async def _asked(
    client: HttpClient, url: str, form: Mapping[str, str], kind: type[T]
) -> T | _Refused:
    body = urlencode(form).encode()
    async with client.send("POST", url, headers=FORM, body=body) as reply:
        if reply.status == 404:
            raise NotFound(f"{url}: no publishing API here; is this the origin's address?")
        content = await reply.read(size_max=ANSWER_SIZE_MAX)
        try:
            if reply.status != 200:
                return msgspec.json.decode(content, type=_Refused)
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"{url}: answered {reply.status}, not as a login is") from error


def _with(login: Login, granted: _Granted, clock: Clock) -> Login:
    return msgspec.structs.replace(
        login,
        publisher=granted.publisher,
        titles=granted.titles,
        channels=granted.channels,
        access_token=granted.access_token,
        access_expires_s=clock.now() + granted.expires_in,
        refresh_token=granted.refresh_token,
    )


def _remembered(settings: Settings) -> Path:
    return settings.data / REMEMBERED_NAME
