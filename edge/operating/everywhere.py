"""What an operator does to the cache, done by every worker with what it keeps.

The worker that is asked finds out what is meant, once, and tells the others names. If each found
out by itself, one would fetch again, to read it, what another had just dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import msgspec

from chunks.chunk_id import DIGEST_SIZE, Digest
from edge.documents import DocumentAddress, Documents
from edge.operating.crew import Crew
from edge.operating.keeping import Keeping
from edge.operating.messages import Acted, Action, Amount, DocumentsRequest, NamesRequest
from kit.errors import NotFound
from manifests.addresses import OpenAddress, parse_path
from manifests.names import TitleId

T = TypeVar("T")

API = "/edge/v1/crew"
NAMES_MAX = 4096
"""Told at a time: 180 KB of JSON."""
PATHS_MAX = 1024


class Everywhere:
    """All workers' stores and documents."""

    def __init__(self, documents: Documents, keeping: Keeping, crew: Crew) -> None:
        self._documents = documents
        self._keeping = keeping
        self._crew = crew

    async def act(self, action: Action, names: Collection[Digest], until_s: float = 0.0) -> Acted:
        """Do ``action`` to what is kept of ``names``; ``until_s`` is when pins end."""
        found = await self._keeping.act(action, names, until_s)
        for batch in _batches(names, NAMES_MAX):
            asked = NamesRequest(action=action, names=tuple(batch), until_s=until_s)
            body = msgspec.json.encode(asked)
            for each in await self._crew.ask("POST", f"{API}/names", Acted, body):
                found += each
        return found

    async def names_of(self, title: TitleId) -> list[Digest]:
        """Return all that is kept for a title."""
        own = await self._keeping.names_of(title)
        others = await self._crew.ask("GET", f"{API}/names/{title}", list[bytes])
        return [*own, *(Digest(name) for each in others for name in each)]

    async def let_go(self, documents: Collection[DocumentAddress], *, hard: bool) -> None:
        """Have every worker drop documents, or ask for them before they are sent again."""
        let_go(self._documents, documents, hard=hard)
        for batch in _batches([each.path for each in documents], PATHS_MAX):
            body = msgspec.json.encode(DocumentsRequest(paths=tuple(batch), hard=hard))
            await self._crew.ask("POST", f"{API}/documents", Amount, body)


def let_go(documents: Documents, addresses: Iterable[DocumentAddress], *, hard: bool) -> None:
    """Drop documents of this worker, or have them asked for before they are sent again."""
    for address in addresses:
        if hard:
            documents.forget(address)
        else:
            documents.outdate(address)


def names_in(asked: NamesRequest) -> list[Digest]:
    """Return the names that a worker was told, as far as they are any."""
    return [Digest(name) for name in asked.names if len(name) == DIGEST_SIZE]


def documents_in(asked: DocumentsRequest) -> Iterator[DocumentAddress]:
    """Yield the documents that a worker was told of, as far as they are any."""
    for path in asked.paths:
        try:
            address = parse_path(path)
        except NotFound:
            continue
        if isinstance(address, OpenAddress):
            yield address


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch
