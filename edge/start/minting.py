"""A lease for a player who starts: asked for by the edge, so that the player need not wait twice.

The player's token passes through. It is neither kept nor logged, and never sent anywhere else.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from kit.errors import Denied, FormatError, Unauthenticated, Unavailable
from kit.http_client import HttpClient, HttpReply
from kit.http_problem import read_problem
from manifests.lease_service import (
    ANSWER_SIZE_MAX,
    LEASES_PATH,
    REFUSALS,
    LeaseAnswer,
    encode_lease_wish,
    parse_lease_answer,
)
from manifests.names import TitleId

WITHIN_S = 5.0
"""A console that got no lease so long asks for one itself."""

DETAIL_SIZE_MAX = 500


class MintLease(Protocol):
    """Gets leases for players."""

    async def mint(self, bearer: str, title: TitleId) -> LeaseAnswer:
        """Return a lease for ``title`` to the player whose token is ``bearer``.

        Raises:
            Denied: The player may not download it, or is nobody.
            Unavailable: Nobody can tell now.
        """


class EntitlementService:
    """Asks the entitlement service at ``base_url``."""

    def __init__(self, base_url: str, http: HttpClient) -> None:
        self._url = base_url.rstrip("/") + LEASES_PATH
        self._http = http

    async def mint(self, bearer: str, title: TitleId) -> LeaseAnswer:
        """Return a lease, as :class:`MintLease` says."""
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        body = encode_lease_wish(title)
        try:
            async with (
                asyncio.timeout(WITHIN_S),
                self._http.send("POST", self._url, headers=headers, body=body) as reply,
            ):
                return await _answer(reply)
        except TimeoutError as error:
            raise Unavailable(f"{self._url}: no answer within {WITHIN_S:g} s") from error


async def _answer(reply: HttpReply) -> LeaseAnswer:
    if reply.status == 200:
        try:
            return parse_lease_answer(await reply.read(size_max=ANSWER_SIZE_MAX))
        except FormatError as error:
            raise Unavailable(f"{reply.url}: {error}") from error
    problem = await read_problem(reply)
    if reply.status in REFUSALS and problem.code:
        kind = Unauthenticated if reply.status == 401 else Denied
        raise kind(problem.detail[:DETAIL_SIZE_MAX] or "no lease, without saying why")
    raise Unavailable(f"{reply.url}: answered {reply.status}")
