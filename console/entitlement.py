"""Leases from an entitlement service, by HTTP: ``docs/format/leases.md``."""

from __future__ import annotations

import asyncio
from pathlib import Path

from console.leases import GrantedLease
from kit.errors import Denied, FormatError, NotFound, SettingsError, Unavailable
from kit.http_client import HttpClient, HttpReply
from kit.http_problem import read_problem
from kit.secret_files import read_secret
from manifests.lease_service import (
    ANSWER_SIZE_MAX,
    LEASES_PATH,
    REFUSALS,
    encode_lease_wish,
    parse_lease_answer,
)
from manifests.names import TitleId

WITHIN_S = 15.0
"""One request is small; whoever takes longer is down."""


class LeaseDenied(Denied):
    """The service gives this player no lease for this title."""

    code = "lease-denied"


class EntitlementClient:
    """Asks one service, as the player whose bearer token is in a file."""

    def __init__(
        self, base_url: str, token_file: Path, http: HttpClient, *, through_edges: bool = True
    ) -> None:
        """Ask the service at ``base_url``; ``through_edges`` lets edges do so for the player."""
        self._through_edges = through_edges
        self._url = base_url.rstrip("/") + LEASES_PATH
        self._token_file = token_file
        self._http = http

    async def lease(self, title: TitleId) -> GrantedLease:
        """Return a new lease for ``title``.

        Raises:
            LeaseDenied: The service says no; the message is its own.
            SettingsError: There is no bearer token.
            Unavailable: It does not answer, or cannot now.
        """
        bearer = await asyncio.to_thread(self._bearer)
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        wish = encode_lease_wish(title)
        try:
            async with (
                asyncio.timeout(WITHIN_S),
                self._http.send("POST", self._url, headers=headers, body=wish) as reply,
            ):
                return await _granted(reply)
        except TimeoutError as error:
            raise Unavailable(f"{self._url}: no answer within {WITHIN_S:g} s") from error

    async def player_token(self, edge_url: str) -> str | None:
        """Return the bearer token if the edge may see it.

        It never travels more openly than to the service itself.

        Raises:
            SettingsError: There is no bearer token.
        """
        is_exposed = self._url.startswith("https:") and not edge_url.startswith("https:")
        if is_exposed or not self._through_edges:
            return None
        return await asyncio.to_thread(self._bearer)

    def _bearer(self) -> str:
        # Each time: whoever signs in again replaces it.
        try:
            return read_secret(self._token_file).decode("ascii").strip()
        except NotFound as error:
            raise SettingsError(
                f"{self._token_file} does not exist: put the player's bearer token there (mode"
                " 600), or set console.entitlement.token_file"
            ) from error
        except UnicodeDecodeError as error:
            raise SettingsError(f"{self._token_file} holds no bearer token") from error


async def _granted(reply: HttpReply) -> GrantedLease:
    if reply.status == 200:
        body = await reply.read(size_max=ANSWER_SIZE_MAX)
        try:
            answer = parse_lease_answer(body)
        except FormatError as error:
            raise Unavailable(f"{reply.url}: answered, but not with a lease") from error
        return GrantedLease(answer.lease, answer.expires_in_s)
    problem = await read_problem(reply)
    if reply.status in REFUSALS and problem.code:  # else it is some other server that refuses
        raise LeaseDenied(problem.detail[:500] or f"{reply.url}: answered {reply.status}")
    raise Unavailable(f"{reply.url}: answered {reply.status}: {problem.detail[:500]}")
