"""Has releases vouched for by an origin that is elsewhere; the publisher's key stays here.

1. Fetch what this publisher signed last.
2. Check that its own key signed that: an origin that was broken into must not have us sign what
   we never published.
3. Add the release, sign, hand it in. If somebody else's machine did so meanwhile, begin again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signer
from tuf.api.metadata import Targets

from kit.clock import Clock
from kit.errors import Conflict, Denied
from manifests.documents import Release
from manifests.names import Channel
from manifests.trust_document import parse, payload_of, sign
from manifests.trust_metadata import build_target, vouched
from manifests.trust_roles import PublisherId, publisher_role

ATTEMPTS_MAX = 5

FetchSigned = Callable[[], Awaitable[bytes | None]]
HandIn = Callable[[Release, Channel, bytes], Awaitable[None]]
AskDoubt = Callable[[Release, Channel], Awaitable[str | None]]


class RemoteVoucher:
    """Implements both :mod:`packager.vouching` protocols with a publisher's own key."""

    def __init__(
        self,
        publisher: PublisherId,
        signer: Signer,
        *,
        fetch: FetchSigned,
        hand_in: HandIn,
        ask_doubt: AskDoubt,
        clock: Clock,
    ) -> None:
        self._publisher = publisher
        self._signer = signer
        self._fetch = fetch
        self._hand_in = hand_in
        self._ask_doubt = ask_doubt
        self._clock = clock

    async def vouch(self, release: Release, channel: Channel) -> None:
        """Return once publisher and platform both vouch for ``release``."""
        for attempt in range(ATTEMPTS_MAX):
            before = await self._before()
            signed = await asyncio.to_thread(self._signed, before, release)
            try:
                await self._hand_in(release, channel, signed)
            except Conflict:
                after = await self._before()
                is_newer = _version(after) != _version(before)
                if not is_newer or attempt == ATTEMPTS_MAX - 1:
                    raise
            else:
                return

    async def doubt(self, release: Release, channel: Channel) -> str | None:
        """Return why consoles would refuse the release: by our own key, then by the platform."""
        said = await self._before()
        target = build_target(self._publisher, release)
        if said is None or said.targets.get(target.path) != target:
            return f"publisher {self._publisher} does not vouch for release {release.counter}"
        return await self._ask_doubt(release, channel)

    async def _before(self) -> Targets | None:
        data = await self._fetch()
        return None if data is None else await asyncio.to_thread(self._verified, data)

    def _verified(self, data: bytes) -> Targets:
        role = publisher_role(self._publisher)
        metadata = parse(data, Targets, role)
        key = self._signer.public_key
        try:
            signature = metadata.signatures[key.keyid]
            key.verify_signature(signature, payload_of(metadata.signed))
        except (KeyError, UnverifiedSignatureError) as error:
            raise Denied(
                f"what the origin says that {self._publisher} signed last was not signed by this "
                f"machine's key {key.keyid[:12]}. If another machine publishes for "
                f"{self._publisher} too, give both the same key"
            ) from error
        return metadata.signed

    def _signed(self, before: Targets | None, release: Release) -> bytes:
        now_s = self._clock.now()
        said = vouched(before, self._publisher, [release], now_s)
        target = build_target(self._publisher, release)
        if before is not None and before.targets.get(target.path) == target:
            said.version = before.version  # said already; the origin knows it
        return sign(said, [self._signer])


def _version(said: Targets | None) -> int:
    return 0 if said is None else said.version
