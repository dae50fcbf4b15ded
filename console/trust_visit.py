"""One verification of a channel: steps 2 to 7, by the library and ``manifests/trust.py``.

Everything here blocks: it is work for a thread.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from console.trust_sources import AtHand, Source
from console.trust_state import TrustState, collect, lay_out
from kit.errors import Untrusted
from kit.telemetry import get_logger
from manifests.names import Channel, TitleId
from manifests.trust import (
    Claim,
    Witness,
    check_agreement,
    check_role_binding,
    moment,
    read_claim,
    witness_path,
)
from manifests.trust_roles import TIMESTAMP, head_path, publisher_role

if TYPE_CHECKING:
    # It brings the library, a fifth of a second: no thread but the one that verifies needs it.
    from console.trust_client import TrustClient

log = get_logger("console")


class Visit:
    """One verification of a channel, by a thread. Its methods block."""

    def __init__(
        self, state: TrustState, anchor: bytes, title: TitleId, channel: Channel, now_s: float
    ) -> None:
        self.title = title
        self.channel = channel
        self._state = state
        self._anchor = anchor
        self._now_s = now_s

    def known(self) -> Claim | None:
        """Return what is known of the channel without asking anybody; None if that is too old.

        All of it is verified again: whoever can write into the folder may have put it there.
        """
        documents = self._state.load()
        timestamp = f"{TIMESTAMP}.json"
        if timestamp not in documents:
            return None
        try:
            with TemporaryDirectory(prefix="playhead-") as scratch:
                lay_out(_usable(documents), Path(scratch))
                source = AtHand({timestamp: documents[timestamp]})
                return self._claim(self._client(Path(scratch), source))
        except Untrusted as error:
            log.debug("trust.not_known", title=self.title, reason=str(error))
            return None

    def verified(self, source: Source) -> Claim:
        """Steps 2 to 7, with what ``source`` brings; what is believed then is kept.

        Raises:
            Untrusted: A step forbids it. What was believed before it is kept: by that an older
                state is told from a newer one.
            Unavailable, NotFound: as the source does.
        """
        with TemporaryDirectory(prefix="playhead-") as scratch:
            folder = Path(scratch)
            lay_out(_usable(self._state.load()), folder)
            try:
                claim = self._claim(self._client(folder, source))
            finally:
                self._state.keep(collect(folder))
            expires = _expiry((folder / f"{TIMESTAMP}.json").read_bytes())
        self._state.note(moment(self._now_s, expires))
        return claim

    def _client(self, folder: Path, source: Source) -> TrustClient:
        from console.trust_client import TrustClient  # noqa: PLC0415

        return TrustClient(
            folder, self._anchor, source, now_s=self._now_s, check=check_role_binding
        )

    def _claim(self, client: TrustClient) -> Claim:
        client.refresh()
        said, custom = self._witness(client, head_path(self.title, self.channel), "the platform")
        claim = read_claim(said, custom)
        path = witness_path(claim, self.title)
        build, _ = self._witness(client, path, publisher_role(claim.publisher))
        check_agreement(claim, build)
        return claim

    def _witness(self, client: TrustClient, path: str, role: str) -> tuple[Witness, object]:
        found = client.target(path)
        sha256 = None if found is None else found.hashes.get("sha256")
        if found is None or sha256 is None:
            raise Untrusted(
                f"{path}: {role} does not vouch for it, so {self.title}/{self.channel} has not"
                " the two witnesses that every release must have"
            )
        return Witness(path, found.length, sha256), found.custom


def load_library() -> None:
    """Import what verifies, so that the first verification of a process need not wait for that."""
    import console.trust_client  # noqa: F401, PLC0415


def _usable(documents: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out what may not reach the library: step 4, for what was kept."""

    def is_bound(name: str) -> bool:
        if "/" in name:
            return True  # a root; the library checks who signed it
        try:
            check_role_binding(name, name.removesuffix(".json"), documents[name])
        except Untrusted:
            return False
        return True

    return {name: document for name, document in documents.items() if is_bound(name)}


def _expiry(timestamp: bytes) -> datetime:
    return msgspec.json.decode(timestamp, type=_Document).signed.expires


class _Signed(msgspec.Struct):
    expires: datetime


class _Document(msgspec.Struct):
    signed: _Signed
