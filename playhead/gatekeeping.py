"""Who is let in to content: the gate of an origin or an edge, and the keys that it goes by.

The keys are in a file that whoever mints leases replaces daily; it is looked at twice a second, so
a key is known here long before it is used.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import Counter

from kit.clock import Clock
from kit.errors import Denied, NotFound, PlayheadError
from kit.key_ring import KeyRing
from kit.key_ring_file import KeyRingFile
from kit.service import Binder
from kit.telemetry import get_logger
from manifests.lease import LIFETIME_S, TOKEN_ID_SIZE, Lease, Subject, encode_lease
from manifests.lease_gate import Gate
from manifests.names import TitleId

LOOK_EVERY_S = 0.5

log = get_logger("leases")


class Gatekeeper:
    """A gate that keeps up with the keys; what it refuses is counted."""

    def __init__(
        self, binder: Binder, file: KeyRingFile, clock: Clock, *, replaces_keys: bool = False
    ) -> None:
        """Take part in the life of ``binder``: keys are there before its first request.

        A gatekeeper that ``replaces_keys`` makes the day's key when it is due.
        """
        self.gate = Gate(clock)
        self._file = file
        self._look = file.made if replaces_keys else file.read
        self._clock = clock
        self._ring = KeyRing()
        self._node_lease = ("", 0.0)
        self._subject = Subject(f"node:{binder.name}")
        self._refused = Counter(
            f"playhead_{binder.name}_leases_refused_total",
            "Requests for content without a lease that holds.",
            ["code"],
            registry=binder.registry,
        )
        binder.lifetime(self._with_keys)
        binder.background("lease keys", self._keep_up)

    def check(self, token: str | None, title: TitleId) -> Lease:
        """Return the lease that lets in, as :meth:`Gate.check`."""
        try:
            return self.gate.check(token, title)
        except Denied as error:
            self._refused.labels(error.code).inc()
            raise

    def node_lease(self) -> str:
        """Return a lease for this node itself, to read every title; empty while there is no key."""
        now_s = self._clock.now()
        token, renew_at_s = self._node_lease
        if now_s >= renew_at_s:
            key = self._ring.signing(now_s)
            if key is None:
                return ""
            lease = Lease(
                subject=self._subject,
                title=None,
                issued_at=int(now_s),
                expires_at=int(now_s) + LIFETIME_S,
                epoch=int(now_s * 1e3),
                token_id=secrets.token_bytes(TOKEN_ID_SIZE),
            )
            token = encode_lease(lease, key.key_id, key.raw_key)
            self._node_lease = token, now_s + LIFETIME_S / 2
        return token

    @asynccontextmanager
    async def _with_keys(self) -> AsyncIterator[None]:
        try:
            ring = await asyncio.to_thread(self._file.read)
        except NotFound:
            ring = await asyncio.to_thread(self._file.made)
            log.warning(
                "keys.made",
                file=str(self._file.path),
                advice="leases are checked by keys that only this machine has; on any other "
                "machine of the platform copy its file here instead",
            )
        self._use(ring)
        yield

    async def _keep_up(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                self._use(await asyncio.to_thread(self._look))
                said = ""
            except PlayheadError as error:  # the keys that are known serve until they are over
                if str(error) != said:
                    said = str(error)
                    log.warning("keys.unreadable", error=said)
                self._use(self._ring)

    def _use(self, ring: KeyRing) -> None:
        if ring != self._ring:
            self._ring = ring
            self._node_lease = "", 0.0  # by a key that may be gone
        self.gate.use_keys(ring.believed(self._clock.now()))
