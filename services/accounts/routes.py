"""Routes of the accounts service: the device grant, refresh, and the operator's desk.

``/oauth/...`` is for publishers' machines and speaks as RFC 8628 and RFC 6749 say, in forms and
with their error codes. ``/accounts/v1/...`` is for operators, who prove themselves by a secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Protocol, TypeVar
from urllib.parse import parse_qs

import msgspec
from aiohttp import web
from msgspec import Meta

from kit.attempts import Attempts, TooMany
from kit.clock import Clock
from kit.concurrency import to_its_end
from kit.errors import InvalidInput, Unauthenticated
from kit.http_body import bearer_of, is_same_secret, read_body
from kit.http_server import refuse_query
from kit.service import Binder
from kit.telemetry import get_logger
from manifests.publishing_scope import Scope, scope_of
from services.accounts.accounts import Accounts, Tokens
from services.accounts.grants import Grant
from services.accounts.logins import Login, Refused
from services.accounts.settings import AccountsSettings

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
BODY_SIZE_MAX = 16 << 10
KEY_SIZE_MAX = 2048
MACHINE_LENGTH_MAX = 100
WINDOW_S = 60.0

PAGE = """\
A machine asks to publish here. Give the code that it shows to an operator of this
platform, who runs

    playhead publishers approve CODE --publisher NAME --title TITLE --channel CHANNEL
"""

log = get_logger("accounts")
T = TypeVar("T")


class Note(Protocol):
    """Tells an audit log what operators decide."""

    async def __call__(self, *, what: str, grant: Grant, address: str) -> None:
        """Return once it is written down."""


class ApprovalRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator decides."""

    user_code: Annotated[str, Meta(max_length=64)]
    scope: Scope
    good_for_s: Annotated[float, Meta(gt=0)] | None = None


def bind(
    binder: Binder,
    open_accounts: Callable[[], Accounts],
    operator_secret: Callable[[], str],
    *,
    settings: AccountsSettings,
    clock: Clock,
    note: Note,
) -> Callable[[str], tuple[Scope, str]]:
    """Serve accounts; what ``open_accounts`` returns is opened before the first request.

    ``note`` is told of what operators decide. Returns what checks an access token: it returns the
    scope and the grant, and raises Unauthenticated.
    """
    desk = _Desk(open_accounts, operator_secret, settings=settings, clock=clock, note=note)
    binder.lifetime(desk.living)
    binder.routes(
        web.get("/oauth/device", desk.page),
        web.post("/oauth/device_authorization", desk.begin),
        web.post("/oauth/token", desk.token),
        web.get("/accounts/v1/logins", desk.list_logins),
        web.post("/accounts/v1/logins/approve", desk.approve),
        web.post("/accounts/v1/logins/deny", desk.deny),
        web.get("/accounts/v1/grants", desk.list_grants),
        web.post("/accounts/v1/grants/revoke", desk.revoke),
    )
    return desk.check_token


class _Desk:
    def __init__(
        self,
        open_accounts: Callable[[], Accounts],
        operator_secret: Callable[[], str],
        *,
        settings: AccountsSettings,
        clock: Clock,
        note: Note,
    ) -> None:
        self._note = note
        self._open_accounts = open_accounts
        self._operator_secret = operator_secret
        self._accounts: Accounts | None = None
        self._secret = ""
        self._begun = Attempts(settings.logins_per_minute, WINDOW_S, clock)
        self._guessed = Attempts(settings.guesses_per_minute, WINDOW_S, clock)

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        self._accounts = await asyncio.to_thread(self._open_accounts)
        self._secret = await asyncio.to_thread(self._operator_secret)
        await self._accounts.open()
        yield

    def check_token(self, token: str) -> tuple[Scope, str]:
        accounts = self._opened()
        scope, grant_id = scope_of(accounts.verifier.verify(token))
        if not accounts.is_good(grant_id):
            raise Unauthenticated("this login was revoked: log in again")
        return scope, grant_id

    async def page(self, request: web.Request) -> web.Response:
        refuse_query(request)
        return web.Response(text=PAGE, headers={"Cache-Control": "no-store"})

    async def begin(self, request: web.Request) -> web.Response:
        address = request.remote or "nowhere"
        form = await _form(request)
        try:
            self._begun.check(address, "logins")
        except TooMany as error:
            return _refusal("slow_down", 429, str(error))
        self._begun.count(address)
        key = form.get("publisher_key", "")
        if len(key) > KEY_SIZE_MAX:
            return _refusal("invalid_request", 400, "publisher_key is too long")
        machine = _printable(form.get("machine", ""))
        begun = self._opened().begin(key, address=address, machine=machine)
        url = f"{request.scheme}://{request.host}/oauth/device"
        log.info("login.began", address=address, machine=machine)
        return _answer(
            {
                "device_code": begun.device_code,
                "user_code": begun.login.user_code,
                "verification_uri": url,
                "expires_in": int(begun.login.expires_s - begun.login.began_s),
                "interval": begun.login.interval_s,
            }
        )

    async def token(self, request: web.Request) -> web.Response:
        address = request.remote or "nowhere"
        form = await _form(request)
        try:
            self._guessed.check(address, "wrong codes")
        except TooMany as error:
            return _refusal("slow_down", 429, str(error))
        match form.get("grant_type"):
            case "refresh_token":
                found = await self._opened().refresh(form.get("refresh_token", ""))
            case kind if kind == DEVICE_GRANT:
                found = await self._opened().poll(form.get("device_code", ""))
            case _:
                return _refusal("unsupported_grant_type", 400, "")
        match found:
            case Refused(error=code):
                if code == "invalid_grant":
                    self._guessed.count(address)
                return _refusal(code, 400, "")
            case Tokens():
                return _answer(
                    {
                        "access_token": found.access_token,
                        "token_type": "Bearer",
                        "expires_in": int(found.expires_in_s),
                        "refresh_token": found.refresh_token,
                        "scope": " ".join(found.scope.verbs),
                        "publisher": found.scope.publisher,
                        "titles": found.scope.titles,
                        "channels": found.scope.channels,
                    }
                )

    async def list_logins(self, request: web.Request) -> web.Response:
        self._check_operator(request)
        return _answer([_told(login) for login in self._opened().logins.waiting()])

    async def list_grants(self, request: web.Request) -> web.Response:
        self._check_operator(request)
        return _answer([_granted(grant) for grant in self._opened().grants()])

    async def approve(self, request: web.Request) -> web.Response:
        self._check_operator(request)
        asked = _decoded(await read_body(request, BODY_SIZE_MAX), ApprovalRequest)
        grant = self._opened().approve(asked.user_code, asked.scope, asked.good_for_s)
        await self._note(what="approve", grant=grant, address=request.remote or "")
        return _answer(_granted(grant))

    async def deny(self, request: web.Request) -> web.Response:
        self._check_operator(request)
        asked = _decoded(await read_body(request, BODY_SIZE_MAX), dict[str, str])
        return _answer(_told(self._opened().deny(asked.get("user_code", ""))))

    async def revoke(self, request: web.Request) -> web.Response:
        self._check_operator(request)
        asked = _decoded(await read_body(request, BODY_SIZE_MAX), dict[str, str])
        gone = await to_its_end(self._opened().revoke(asked.get("which", "")))
        for grant in gone:
            await self._note(what="revoke", grant=grant, address=request.remote or "")
        return _answer([_granted(grant) for grant in gone])

    def _check_operator(self, request: web.Request) -> None:
        address = request.remote or "nowhere"
        self._guessed.check(address, "wrong secrets")
        if not is_same_secret(bearer_of(request), self._secret):
            self._guessed.count(address)
            raise Unauthenticated("that is not this platform's operator secret")

    def _opened(self) -> Accounts:
        assert self._accounts is not None, "the listener is up after we are"
        return self._accounts


async def _form(request: web.Request) -> dict[str, str]:
    body = await read_body(request, BODY_SIZE_MAX)
    try:
        fields = parse_qs(body.decode(), max_num_fields=20, keep_blank_values=True)
    except ValueError as error:
        raise InvalidInput(f"{request.path}: expected a form, got: {error}") from error
    return {name: values[0] for name, values in fields.items()}


def _decoded(body: bytearray, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not what was expected here: {error}") from error


def _printable(text: str) -> str:
    """Return what may stand in an operator's terminal and in a log."""
    return "".join(each for each in text if each.isprintable())[:MACHINE_LENGTH_MAX]


def _told(login: Login) -> dict[str, object]:
    return {
        "user_code": login.user_code,
        "publisher_key": login.publisher_key,
        "address": login.address,
        "machine": login.machine,
        "began_s": login.began_s,
        "expires_s": login.expires_s,
    }


def _granted(grant: Grant) -> dict[str, object]:
    return {
        "grant_id": grant.grant_id,
        "scope": grant.scope,
        "machine": grant.machine,
        "granted_s": grant.granted_s,
        "expires_s": grant.expires_s,
    }


def _answer(content: object) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _refusal(error: str, status: int, detail: str) -> web.Response:
    """Return an error as RFC 6749, section 5.2, has it."""
    said = {"error": error, **({"error_description": detail} if detail else {})}
    response = _answer(said)
    response.set_status(status)
    return response
