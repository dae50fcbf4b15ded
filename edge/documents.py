"""Heads, releases and what vouches for them: not named by digest, and still served when the origin
is gone.

By the rules of RFC 9111 and RFC 5861 (:mod:`edge.document_rules`): fresh for a while; a while more,
stale and refreshed behind the client's back; after that refreshed first, and stale only if that
fails. What is refreshed is asked about by its tag, and comes again only if it has changed. All
documents are in memory and, for a restart, each in a file of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import TypeAlias

import aiofiles
import aiofiles.os
import msgspec
from msgspec.structs import replace

from chunks.chunk_id import Digest, digest_of
from edge.document_rules import Policy, Use, confirms, fresh_at
from edge.upstream.siblings import SiblingGone, Siblings
from edge.upstream.upstreams import Upstreams
from kit.clock import Clock
from kit.errors import IntegrityError, NotFound, Unavailable
from kit.http_client import HttpReply
from kit.single_flight import SingleFlight
from kit.telemetry import get_logger
from manifests.addresses import (
    IMMUTABLE_FRESH_S,
    STALE_IF_ERROR_S,
    HeadAddress,
    ReleaseAddress,
    TimestampAddress,
    TrustAddress,
    TrustBundleAddress,
)
from manifests.documents import DOCUMENT_SIZE_MAX
from manifests.names import TitleId
from manifests.trust_bundle import BUNDLE_SIZE_MAX
from manifests.trust_roles import METADATA_SIZE_MAX

log = get_logger("edge.documents")

DocumentAddress: TypeAlias = (
    HeadAddress | ReleaseAddress | TrustBundleAddress | TimestampAddress | TrustAddress
)

ENTRY_OVERHEAD = 512
"""Bytes that Python objects around a document take: a guess on the safe side."""
FILE_SIZE_MAX = 2 * METADATA_SIZE_MAX
"""Base64 takes a third more, path and times a little."""


class Document(msgspec.Struct, frozen=True):
    """One document as fetched; also what its file holds, as JSON."""

    path: str
    fetched_at: float
    """Seconds since the Unix epoch at which it was fresh at its source."""
    digest: str
    content: bytes

    @property
    def etag(self) -> str:
        """Its entity tag, a strong one."""
        return f'"{self.digest}"'

    def age_s(self, now: float) -> float:
        """Return its age in seconds; a clock set back makes nothing younger than new."""
        return max(0.0, now - self.fetched_at)


_OF_IMMUTABLE = Policy(IMMUTABLE_FRESH_S, 0.0, STALE_IF_ERROR_S)


class Found(Enum):
    """How a document was found."""

    HIT = "hit"
    MISS = "fwd=miss"
    REFRESHED = "fwd=stale"
    STALE = "hit; detail=stale"


class Documents:
    """The documents of one edge. Open it before use."""

    def __init__(
        self,
        folder: Path,
        upstreams: Upstreams,
        *,
        count_max: int,
        max_bytes: int,
        head_fresh_s: float,
        clock: Clock,
        siblings: Siblings,
    ) -> None:
        self._folder = folder
        self._upstreams = upstreams
        self._count_max = count_max
        self._max_bytes = max_bytes
        self._bytes = 0
        self._of_heads = Policy(head_fresh_s, head_fresh_s, STALE_IF_ERROR_S)
        self._clock = clock
        self._siblings = siblings
        self._known: OrderedDict[str, Document] = OrderedDict()
        self._refreshes: SingleFlight[tuple[str, bool], Document] = SingleFlight()
        self._saves: SingleFlight[str, None] = SingleFlight()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Read what an earlier run left; a file that cannot be read is not there."""
        found = await asyncio.to_thread(lambda: list(_load(self._folder, self._siblings.owns)))
        for document in found:
            self._put(document)
        try:
            yield
        finally:
            await self._refreshes.close()
            await self._saves.finish()

    def has(self, address: DocumentAddress) -> bool:
        """Tell whether the document was fetched before."""
        return address.path in self._known

    async def get(self, address: DocumentAddress) -> tuple[Document, Found]:
        """Return the document at ``address``, as fresh as can be.

        Raises:
            NotFound: There is none.
            NoUpstream: It is unknown here, or too old, and no upstream can give it.
        """
        path = address.path
        known = self._known.get(path)
        if known is None:
            return await self._refresh(address), Found.MISS
        self._known.move_to_end(path)
        use = self._policy(address).use(known.etag, known.fetched_at, self._clock.now())
        if use is Use.FRESH:
            return known, Found.HIT
        if use is Use.BEHIND:
            self._refresh_behind(address)
            return known, Found.STALE
        is_usable = use is Use.IF_FAILS
        # Another worker that fetches it for all may have a newer one, whatever upstreams do.
        is_ours = self._siblings.owns(_name(path))
        if is_usable and is_ours and self._upstreams.are_all_avoided:
            self._refresh_behind(address)
            return known, Found.STALE  # asking first would only make the client wait
        try:
            return await self._refresh(address), Found.REFRESHED
        except Unavailable:
            if is_usable:
                return known, Found.STALE
            raise

    async def renew(self, address: DocumentAddress) -> Document:
        """Return the document as an upstream has it now, however fresh it is here.

        Raises:
            NotFound: There is none.
            NoUpstream: No upstream can give it; what was here stays.
        """
        return await self._refresh(address)

    def _policy(self, address: DocumentAddress) -> Policy:
        if isinstance(address, ReleaseAddress | TrustAddress):
            return _OF_IMMUTABLE
        return self._of_heads

    async def _refresh(self, address: DocumentAddress) -> Document:
        return await asyncio.shield(self._refresh_behind(address))

    def _refresh_behind(self, address: DocumentAddress) -> asyncio.Future[Document]:
        path, refreshes = address.path, self._refreshes
        flight = path, self._upstreams.is_shielded(path, lambda way: (path, way) in refreshes)
        return refreshes.join(flight, lambda: self._fetch(address))

    async def _fetch(self, address: DocumentAddress) -> Document:
        path = address.path
        try:
            document = await self._ask(address)
        except NotFound:
            if path in self._known:
                self._drop(path)
            raise
        earlier = self._known.get(path)
        self._save_behind(path)
        self._put(document)
        if isinstance(address, HeadAddress) and (
            earlier is None or earlier.digest != document.digest
        ):
            self.outdate(TrustBundleAddress(address.title, address.channel))
        return document

    async def _ask(self, address: DocumentAddress) -> Document:
        """Ask the worker that fetches it for all, if it is not this one and if it can."""
        known = self._known.get(address.path)
        if known is not None:
            confirmed = await self._ask_about(address, known)
            if confirmed is not None:
                return confirmed
        document = await self._ask_about(address, None)
        assert document is not None
        return document

    async def _ask_about(self, address: DocumentAddress, known: Document | None) -> Document | None:
        """Ask whether ``known`` is still right, and else for another; None if that is not said."""
        path, asked_at = address.path, self._clock.now()

        async def take(reply: HttpReply) -> Document | None:
            fresh = fresh_at(reply.headers, asked_at=asked_at, received_at=self._clock.now())
            if reply.status != 304:
                return await self._take(reply, address, fresh)
            assert known is not None
            is_right = confirms(reply.headers, known.etag)
            return replace(known, fetched_at=fresh) if is_right else None

        tag = "" if known is None else known.etag
        if not self._siblings.owns(_name(path)):
            with suppress(SiblingGone):
                return await self._siblings.fetch(_name(path), path, take, if_none_match=tag)
        return await self._upstreams.fetch(path, take, if_none_match=tag)

    def known(self, title: TitleId | None = None) -> list[Document]:
        """Return what is here of a title, or of all and of none."""
        prefix = "/" if title is None else f"/t/{title}/"
        return [known for path, known in self._known.items() if path.startswith(prefix)]

    def look(self, address: DocumentAddress) -> Document | None:
        """Return what is here, however old; nothing is fetched, and it counts as no use."""
        return self._known.get(address.path)

    def outdate(self, address: DocumentAddress) -> None:
        """Have a document asked for before it is sent again.

        It stays for when no upstream answers.
        """
        known = self._known.get(address.path)
        if known is not None:
            policy = self._policy(address)
            # Past the time in which it would be sent while it is asked about.
            old_s = self._clock.now() - policy.fresh_s - policy.revalidate_s - 1
            self._put(replace(known, fetched_at=min(known.fetched_at, old_s)))

    def forget(self, address: DocumentAddress) -> None:
        """Drop a document; if no upstream answers, there is none."""
        if address.path in self._known:
            self._drop(address.path)

    async def _take(self, reply: HttpReply, address: DocumentAddress, fresh: float) -> Document:
        """Read an answer whose entity tag must be its digest, as on every node."""
        path = address.path
        content = bytes(await reply.read(size_max=_size_max(address)))
        digest = (await asyncio.to_thread(digest_of, content)).hex()
        if reply.headers.get("ETag") != f'"{digest}"':
            raise IntegrityError(f"{reply.url}: is not what its entity tag says")
        return Document(path, fresh, digest, content)

    def _put(self, document: Document) -> None:
        """Keep a document in memory as the last used, and no more than may be kept."""
        earlier = self._known.pop(document.path, None)
        self._known[document.path] = document
        self._bytes += _cost(document) - (0 if earlier is None else _cost(earlier))
        while len(self._known) > self._count_max or self._bytes > self._max_bytes:
            self._drop(next(iter(self._known)))

    def _drop(self, path: str) -> None:
        self._bytes -= _cost(self._known.pop(path))
        self._save_behind(path)

    def _save_behind(self, path: str) -> None:
        """Bring the file of ``path`` in line with memory; nobody waits for the disk.

        A file is written by one worker alone. All read it at their start.
        """
        if not self._siblings.owns(_name(path)):
            return
        self._saves.join(path, lambda: self._save(path))

    async def _save(self, path: str) -> None:
        file = self._file(path)
        try:
            while True:
                latest = self._known.get(path)
                if latest is None:
                    await _forget(file)
                else:
                    await _write(file, latest)
                if self._known.get(path) is latest:
                    return
        except OSError as error:
            log.warning("document.not_saved", path=path, error=str(error))

    def _file(self, path: str) -> Path:
        return self._folder / f"{_name(path).hex()}.json"


def _name(path: str) -> Digest:
    return digest_of(path.encode())


def _size_max(address: DocumentAddress) -> int:
    match address:
        case TrustBundleAddress():
            return BUNDLE_SIZE_MAX
        case TrustAddress():
            return METADATA_SIZE_MAX
        case _:
            return DOCUMENT_SIZE_MAX


def _cost(document: Document) -> int:
    return ENTRY_OVERHEAD + len(document.content)


def _load(folder: Path, owns: Callable[[bytes], bool]) -> Iterator[Document]:
    """Yield every readable document, the oldest first; delete what is none, if it is ours."""
    found: list[Document] = []
    for file in folder.glob("*") if folder.is_dir() else ():
        try:
            found.append(_read(file))
        except (OSError, ValueError, msgspec.DecodeError) as error:
            log.warning("document.dropped", file=file.name, error=str(error))
            with suppress(OSError):
                if owns(_name_in(file)):
                    file.unlink(missing_ok=True)
    yield from sorted(found, key=lambda document: document.fetched_at)


def _name_in(file: Path) -> bytes:
    """Return the name that a file's name begins with, or one for what has none."""
    try:
        return bytes.fromhex(file.stem) or b"\0"
    except ValueError:
        return b"\0"


def _read(file: Path) -> Document:
    if file.suffix != ".json" or file.stat().st_size > FILE_SIZE_MAX:
        raise ValueError("is no document")
    document = msgspec.json.decode(file.read_bytes(), type=Document)
    if digest_of(document.content).hex() != document.digest:
        raise ValueError("is damaged")
    return document


async def _write(file: Path, document: Document) -> None:
    # The folder is not fsynced: after a power cut the file may be the one before, which is fine.
    await aiofiles.os.makedirs(file.parent, exist_ok=True)
    temporary = file.with_suffix(".part")
    try:
        async with aiofiles.open(temporary, "wb") as out:
            await out.write(await asyncio.to_thread(msgspec.json.encode, document))
            await out.flush()
            await asyncio.to_thread(os.fsync, out.fileno())
        await aiofiles.os.rename(temporary, file)
    except OSError:
        await _forget(temporary)
        raise


async def _forget(file: Path) -> None:
    with suppress(OSError):
        await aiofiles.os.unlink(file)
