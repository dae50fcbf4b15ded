"""What a request must show to be answered, and what it means if it is refused all the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from console.leases import Leases
from kit.errors import Denied, NotFound
from kit.http_client import HttpReply
from kit.http_problem import read_problem
from manifests.addresses import OpenAddress, parse_path
from manifests.lease import HEADER
from manifests.names import TitleId


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
    try:
        address = parse_path(f"/{key}")
    except NotFound:
        return None  # where nothing of a title can be
    if isinstance(address, OpenAddress):
        return None
    return Permit(address.title, await leases.token(address.title))


async def refuse_refusal(reply: HttpReply) -> None:
    """Do nothing if the answer is anything but a refusal.

    Raises:
        LeaseRefused: It is one; the message is the edge's.
        Unavailable: Its words do not come.
    """
    if reply.status not in {401, 403}:
        return
    problem = await read_problem(reply)
    words = problem.detail[:500] or "without saying why"
    raise LeaseRefused(
        f"{reply.url}: answered {reply.status} {problem.code[:60]}: {words}",
        is_final=reply.status == 403,
    )
