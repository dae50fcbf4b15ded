"""What a request must show to be answered, and what it means if it is refused all the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from console.leases import Leases
from kit.errors import Denied
from kit.http_client import HttpReply
from manifests.lease import HEADER
from manifests.names import TitleId

PROBLEM_SIZE_MAX = 4096


class LeaseRefused(Denied):
    """An edge does not let us in with the lease we have."""

    code = "lease-refused"

    def __init__(self, words: str, *, is_final: bool) -> None:
        """Take whether another lease of this player would be refused too."""
        super().__init__(words)
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Permit:
    """What one request shows."""

    title: TitleId
    token: str

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that show it."""
        return {HEADER: self.token}


async def permit_for(leases: Leases, key: str) -> Permit | None:
    """Return what a request for ``key`` must show; None for what anyone may read.

    Raises:
        Denied: The player may not download the title.
        Unavailable: There is no lease to be had.
    """
    # Heads, releases and trust are for anyone.
    parts = key.split("/")
    if len(parts) < 4 or parts[0] != "t" or parts[2] not in {"m", "b"}:
        return None
    title = TitleId(parts[1])
    return Permit(title, await leases.token(title))


async def refuse_refusal(reply: HttpReply) -> None:
    """Do nothing if the answer is anything but a refusal.

    Raises:
        LeaseRefused: It is one; the message is the edge's.
        IntegrityError, Unavailable: Its words do not come.
    """
    if reply.status not in {401, 403}:
        return
    body = await reply.read(size_max=PROBLEM_SIZE_MAX)
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = _Problem()
    words = problem.detail[:500] or "without saying why"
    raise LeaseRefused(
        f"{reply.url}: answered {reply.status} {problem.code[:60]}: {words}",
        is_final=reply.status == 403,
    )


class _Problem(msgspec.Struct, frozen=True):
    code: str = ""
    detail: str = ""
