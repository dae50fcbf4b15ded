"""A repository of trust in memory, and a stock client of it over a fetcher that reads it.

Tests change what roles say through the pure functions of :mod:`manifests.trust_metadata`; an
attack replaces documents in :attr:`TrustRepository.files`, or signs with keys of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from manifests.documents import ObjectRef, Release
from manifests.names import Channel, TitleId, Version
from manifests.trust_document import sign
from manifests.trust_metadata import (
    RoleKeys,
    again,
    bin_of,
    head_target,
    pointed,
    release_with,
    root_with,
    shard_with,
    snapshot_with,
    targets_with,
    timestamp_with,
    vouched,
)
from manifests.trust_roles import (
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    publisher_role,
    shard_role,
)

NOW_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
BASE = "http://127.0.0.1/trust/"


def offline_signer() -> Signer:
    return CryptoSigner.generate_ed25519()


def online_signer() -> Signer:
    return CryptoSigner.generate_ecdsa()


def keys_of(*signers: Signer, threshold: int | None = None) -> RoleKeys:
    keys = tuple(each.public_key for each in signers)
    return RoleKeys(keys, len(keys) if threshold is None else threshold)


def a_release(title: str, counter: int = 1, *, salt: str = "") -> Release:
    return Release(
        title=TitleId(title),
        counter=counter,
        version=Version(f"1.{counter}{salt}"),
        created_at="2026-01-01T00:00:00Z",
        root=ObjectRef(digest=f"{counter:064x}", size=100),
    )


class TrustRepository:
    """Every role's newest signed part in ``signed``, and all documents by name in ``files``."""

    def __init__(self, now_s: float = NOW_S, *, bin_bits: int = 4, holders: int = 1) -> None:
        self.now_s = now_s
        self.root_signers = [offline_signer() for _ in range(holders)]
        self.holders = [offline_signer() for _ in range(holders)]
        self.online = {role: online_signer() for role in (SNAPSHOT, TIMESTAMP, RELEASE)}
        self.publishers: dict[PublisherId, Signer] = {}
        self.signed: dict[str, Signed] = {}
        self.files: dict[str, bytes] = {}
        roles = {role: keys_of(self.online[role]) for role in (SNAPSHOT, TIMESTAMP)}
        roles |= {ROOT: keys_of(*self.root_signers), TARGETS: keys_of(*self.holders)}
        release = keys_of(self.online[RELEASE])
        self.put(ROOT, root_with(None, roles, now_s), self.root_signers)
        targets = targets_with(None, shards=roles[TARGETS], release=release, now_s=now_s)
        self.put(TARGETS, targets, self.holders)
        self.put(RELEASE, release_with(None, release, now_s, bin_bits=bin_bits))
        self.commit([TARGETS, RELEASE])

    @property
    def root(self) -> bytes:
        """The newest root: what a console is given to begin with."""
        return self.files[f"{self.signed[ROOT].version}.root.json"]

    def targets(self, role: str) -> Targets | None:
        return cast("Targets | None", self.signed.get(role))

    def enrol(self, publisher: str, *titles: str, signer: Signer | None = None) -> None:
        """Give the publisher exactly these titles, and a key unless it has one."""
        who = PublisherId(publisher)
        if signer is not None or who not in self.publishers:
            self.publishers[who] = signer or offline_signer()
        role = shard_role(who)
        keys = keys_of(self.publishers[who])
        shard = shard_with(self.targets(role), who, keys, map(TitleId, titles), self.now_s)
        self.put(role, shard, self.holders)
        self.commit([role])

    def vouch(self, publisher: str, *releases: Release) -> None:
        """Let the publisher vouch for the releases."""
        who = PublisherId(publisher)
        role = publisher_role(who)
        signed = vouched(self.targets(role), who, releases, self.now_s)
        self.put(role, signed, [self.publishers[who]])
        self.commit([role])

    def point(self, publisher: str, release: Release, channel: str = "live") -> str:
        """Let the platform vouch for a channel's release; return the bin that says so."""
        return self.point_to(head_target(PublisherId(publisher), release, Channel(channel)))

    def point_to(self, target: TargetFile) -> str:
        role = self.bin_of(target.path)
        self.put(role, pointed(self.targets(role), role, [target], self.now_s))
        self.commit([role])
        return role

    def publish(self, publisher: str, release: Release, channel: str = "live") -> str:
        """Let both vouch; return the bin."""
        self.vouch(publisher, release)
        return self.point(publisher, release, channel)

    def bin_of(self, path: str) -> str:
        return bin_of(cast("Targets", self.signed[RELEASE]), path)

    def renew(self) -> None:
        """Sign snapshot and timestamp anew."""
        self.commit([])

    def sign_again(self, role: str, signers: Sequence[Signer] | None = None) -> None:
        """Sign the same once more, under the next version, and commit it."""
        before = self.signed[role]
        assert isinstance(before, Targets)
        self.put(role, again(role, before, self.now_s), signers)
        self.commit([role])

    def commit(self, roles: Iterable[str]) -> None:
        """Let a new snapshot and timestamp name the newest versions of ``roles``."""
        snapshot = cast("Snapshot | None", self.signed.get(SNAPSHOT))
        timestamp = cast("Timestamp | None", self.signed.get(TIMESTAMP))
        versions = {role: self.signed[role].version for role in roles}
        self.put(SNAPSHOT, snapshot_with(snapshot, versions, self.now_s))
        version = self.signed[SNAPSHOT].version
        self.put(TIMESTAMP, timestamp_with(timestamp, version, self.now_s))

    def put(self, role: str, signed: Signed, signers: Sequence[Signer] | None = None) -> bytes:
        """Store a role's next document, signed by ``signers`` or else its online key."""
        self.signed[role] = signed
        document = sign(signed, signers or [self.online.get(role, self.online[RELEASE])])
        name = f"{role}.json" if role == TIMESTAMP else f"{signed.version}.{role}.json"
        self.files[name] = document
        return document

    def updater(
        self, folder: Path, *, fetcher: FetcherInterface | None = None, root: bytes | None = None
    ) -> Updater:
        """Return a stock client with its state in ``folder``."""
        has_state = (folder / "root.json").exists() and root is None
        return Updater(
            str(folder),
            BASE,
            fetcher=fetcher or FileFetcher(self.files),
            bootstrap=None if has_state else root or self.files["1.root.json"],
        )


class FileFetcher(FetcherInterface):
    """Answers from ``files``, which may change; ``asked`` tells for what."""

    def __init__(
        self, files: Mapping[str, bytes] | Callable[[str], bytes | None], base: str = BASE
    ) -> None:
        self.asked: list[str] = []
        self._get = files if callable(files) else files.get
        self._base = base

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(self._base)
        self.asked.append(name)
        found = self._get(name)
        if found is None:
            raise DownloadHTTPError(f"no {name}", 404)
        return iter([found])


def trusted_root(repository: TrustRepository) -> Root:
    return cast("Root", repository.signed[ROOT])
