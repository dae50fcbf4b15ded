"""Believe what a channel points to: only what the publisher *and* the platform vouch for.

::

    known here, not expired:  head ──────────────► nothing new: believed without another request
                                └─ a newer release ─┐
    nothing known:            trust bundle (holds the head) ◄┘ ── verified ──► release believed
                                └─ lacks a document: /trust/{name}

The numbered steps are those of ``manifests/trust.py`` and ``docs/format/trust.md``. A head is only
a hint with names of deltas: where it is not what was signed, the signed release is fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from console.fetcher import Fetcher
from console.settings import ConsoleSettings
from console.title_folder import TitleFolder
from console.trust_sources import METADATA, Bundled, FromLoop
from console.trust_state import TrustState
from console.trust_visit import Visit, load_library
from console.workers import Workers
from kit.clock import Clock
from kit.errors import FormatError, IntegrityError, NotFound, SettingsError, Unavailable, Untrusted
from kit.telemetry import get_logger
from manifests import locations
from manifests.documents import DOCUMENT_SIZE_MAX, Head, Release, parse_head, parse_release
from manifests.names import Channel, TitleId
from manifests.trust import (
    Claim,
    check_clock,
    check_release,
    is_vouched_for,
)
from manifests.trust_bundle import BUNDLE_SIZE_MAX, HEAD, parse_bundle
from manifests.trust_roles import ROOT

log = get_logger("console")
T = TypeVar("T")

ROOT_SIZE_MAX = 512_000
"""The library's own bound for a root."""

LAG_PAUSES_S = (0.2, 0.8)
"""What vouches may be cached for longer than the head that needs it. Asking for it makes a cache
fetch it anew, so a moment later it is there."""


class TrustedHeads:
    """Heads of one title folder that are vouched for. Belongs to one call of the console."""

    def __init__(
        self,
        settings: ConsoleSettings,
        fetcher: Fetcher,
        folder: TitleFolder,
        workers: Workers,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._workers = workers
        self._clock = clock
        self._state = TrustState(folder)

    async def head(self, title: TitleId, channel: Channel) -> Head:
        """Return what ``channel`` points to, with a release that is vouched for.

        Its deltas are not: whatever they lead to is checked by digest.

        Raises:
            Untrusted: A step forbids it; the message names the file, the role and the rule.
            SettingsError: This console has no trusted root.
            NotFound: No edge knows the title or the channel.
            Unavailable: No edge answered, or not all of it came in time.
        """
        within_s = self._settings.trust.within
        # Meanwhile the start call is on its way; a thread has nothing else to do.
        loading = asyncio.create_task(self._workers.run(load_library))
        try:
            async with asyncio.timeout(within_s):
                return await self._head(title, channel)
        except TimeoutError as error:
            raise Unavailable(
                f"{title}/{channel}: what vouches for it did not come within {within_s:g} s"
            ) from error
        finally:
            await loading

    async def _head(self, title: TitleId, channel: Channel) -> Head:
        check_clock(self._clock.now(), await self._workers.run(self._state.verified_s))  # step 1
        visit = await self._workers.run(self._visit, title, channel)
        known = await self._workers.run(visit.known)
        if known is not None:
            head = await self._plain_head(title, channel)
            if head.release.counter <= known.counter:
                return await self._settled(head, known)
            return await self._settled(*await self._caught_up(visit, head.release.counter))
        return await self._settled(*await self._offered(visit))

    async def _caught_up(self, visit: Visit, counter: int) -> tuple[Head, Claim]:
        """Return what is offered, of release ``counter`` if that is vouched for soon."""
        for pause_s in LAG_PAUSES_S:
            head, claim = await self._offered(visit)
            if claim.counter >= counter:
                return head, claim
            await asyncio.sleep(pause_s)
        return await self._offered(visit)

    def _visit(self, title: TitleId, channel: Channel) -> Visit:
        anchor = read_trusted_root(self._settings.trust.root)
        return Visit(self._state, anchor, title, channel, self._clock.now())

    async def _plain_head(self, title: TitleId, channel: Channel) -> Head:
        async def accept(body: bytearray) -> Head:
            return parse_head(body, title, channel)

        key = locations.head_key(title, channel)
        return await self._fetcher.get(key, DOCUMENT_SIZE_MAX, accept)

    async def _offered(self, visit: Visit) -> tuple[Head, Claim]:
        """Return the head that edges offer, and what was verified of its channel."""
        title, channel = visit.title, visit.channel

        async def accept(body: bytearray) -> tuple[Head, Claim]:
            documents = await self._workers.run(parse_bundle, body)
            head = documents.pop(HEAD, None)
            if head is None:
                raise FormatError(f"trust bundle of {title}/{channel} has no head")
            return parse_head(head, title, channel), await self._verified(visit, documents)

        key = locations.trust_bundle_key(title, channel)
        try:
            return await self._from_edges(key, BUNDLE_SIZE_MAX, accept, may_lack=True)
        except NotFound as error:
            log.debug("trust.no_bundle", title=title, channel=channel, error=str(error))
        head = await self._plain_head(title, channel)
        return head, await self._verified(visit, {})

    async def _verified(self, visit: Visit, documents: dict[str, bytes]) -> Claim:
        rest = FromLoop(self._document)
        try:
            return await self._workers.run(visit.verified, Bundled(documents, rest))
        finally:
            rest.close()

    async def _document(self, name: str, size_max: int) -> bytes:
        """Fetch what a bundle lacks."""

        async def accept(body: bytearray) -> bytes:
            return bytes(body)

        key = locations.TRUST_PREFIX + name.removeprefix(METADATA)
        # The root after the newest is always asked for, and never there.
        return await self._fetcher.get(
            key, size_max, accept, may_lack=key.endswith(f".{ROOT}.json")
        )

    async def _settled(self, head: Head, claim: Claim) -> Head:
        """Step 8: return the head if its release is what was signed; else one that has that.

        A head moves last, so it may lag behind what is signed. That costs its deltas.
        """
        if is_vouched_for(head.release, claim):
            return head
        log.info("head.not_as_signed", title=head.title, channel=head.channel)

        async def accept(body: bytearray) -> Release:
            release = parse_release(body, head.title, claim.counter)
            check_release(release, claim)
            return release

        key = locations.release_key(head.title, claim.counter)
        release = await self._from_edges(key, DOCUMENT_SIZE_MAX, accept)
        return Head(title=head.title, channel=head.channel, release=release)

    async def _from_edges(
        self,
        key: str,
        size_max: int,
        accept: Callable[[bytearray], Awaitable[T]],
        *,
        may_lack: bool = False,
    ) -> T:
        """Fetch from the edge that sends what is vouched for.

        Each is refused once before it ends; one that is alone is asked again: bytes get damaged.
        """
        refused_max = max(2, len(self._settings.edges))
        refused_count = 0

        async def attempt(body: bytearray) -> T:
            nonlocal refused_count
            try:
                return await accept(body)
            except Untrusted as error:
                refused_count += 1
                if refused_count < refused_max:
                    raise IntegrityError(str(error)) from error
                raise

        return await self._fetcher.get(key, size_max, attempt, may_lack=may_lack)


def read_trusted_root(path: Path | None) -> bytes:
    """Return the root that this console was given to trust. Blocks.

    Raises:
        SettingsError: It was given none, or none that can be read.
    """
    remedy = (
        "copy keys/root.json from the data folder of the platform's machine to this one, and name"
        " it by console.trust.root"
    )
    if path is None:
        raise SettingsError(f"console.trust.root: this console has no trusted root; {remedy}")
    try:
        with path.open("rb") as file:
            found = file.read(ROOT_SIZE_MAX + 1)
    except OSError as error:
        raise SettingsError(
            f"console.trust.root: no trusted root at {path} ({error.strerror}); {remedy}"
        ) from error
    if len(found) > ROOT_SIZE_MAX:
        raise SettingsError(f"console.trust.root: {path} has over {ROOT_SIZE_MAX} bytes; {remedy}")
    return found
