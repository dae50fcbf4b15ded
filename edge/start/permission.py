"""Who may read what a start call brings: by a lease shown, or by one that the edge gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from edge.metrics import Outcome
from edge.start.minting import MintLease
from kit.errors import Denied, PlayheadError
from kit.telemetry import get_logger
from manifests.lease import HEADER, LeaseMissing
from manifests.lease_gate import Guard
from manifests.lease_service import LeaseAnswer
from manifests.names import TitleId
from manifests.start import LeasePart, Refusal

log = get_logger("edge.start")

BEARER = "Bearer "


class Permission:
    """Whether one call may read content; a lease may still be on its way."""

    def __init__(self, outcome: Outcome, lease: asyncio.Task[LeaseAnswer] | None = None) -> None:
        """Be ``outcome``, unless ``lease`` is what decides."""
        self._outcome = outcome
        self._lease = lease

    @property
    def may_come(self) -> bool:
        """Whether it is worth while to look for content."""
        return self._lease is not None or self._outcome is Outcome.GRANTED

    def refuse_early(self) -> None:
        """Do nothing if no refusal is known yet.

        Raises:
            Denied: It is; nothing was sent yet, so it can be the whole answer.
        """
        if self._lease is not None and self._lease.done():
            error = self._lease.exception()
            if isinstance(error, Denied):
                raise error

    async def settled(self) -> tuple[Outcome, LeasePart | Refusal | None]:
        """Return what was decided, and what the console is told of it."""
        if self._lease is None:
            return self._outcome, None
        try:
            answer = await self._lease
        except Denied as error:
            return Outcome.REFUSED, Refusal(error.status, error.code, str(error)[:1024])
        except PlayheadError as error:
            log.warning("start.no_lease", code=error.code, detail=str(error))
            return Outcome.OPEN, None
        return Outcome.GRANTED, LeasePart(answer.lease, answer.expires_in_s)


@asynccontextmanager
async def permission_of(
    headers: Mapping[str, str], title: TitleId, guard: Guard, mint: MintLease | None
) -> AsyncIterator[Permission]:
    """Judge what a call shows; the lease that is asked for is given up on leaving.

    Raises:
        Denied: A lease is shown that does not hold.
    """
    token, authorization = headers.get(HEADER), headers.get("Authorization", "")
    if token is not None or mint is None or not authorization.startswith(BEARER):
        yield _shown(token, title, guard)
        return
    bearer = authorization.removeprefix(BEARER).strip()
    lease = asyncio.create_task(_minted(mint, bearer, title, guard))
    try:
        yield Permission(Outcome.OPEN, lease)
    finally:
        lease.cancel()
        await asyncio.gather(lease, return_exceptions=True)


def _shown(token: str | None, title: TitleId, guard: Guard) -> Permission:
    try:
        guard.check(token, title)
    except LeaseMissing:
        return Permission(Outcome.OPEN)
    return Permission(Outcome.GRANTED)


async def _minted(mint: MintLease, bearer: str, title: TitleId, guard: Guard) -> LeaseAnswer:
    answer = await mint.mint(bearer, title)
    guard.check(answer.lease, title)  # as if it was shown: revoked meanwhile, or by other keys
    return answer
