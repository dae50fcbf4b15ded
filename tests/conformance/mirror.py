"""A repository of The Update Framework of any shape, and the mirror that serves it.

For asking a client questions through its conformance interface: what it asks for, in which order,
what it believes and keeps. Roles are changed as objects and published; the mirror writes down the
name of every file that it is asked for.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

ROOT, TIMESTAMP, SNAPSHOT, TARGETS = "root", "timestamp", "snapshot", "targets"
TOP = (ROOT, TIMESTAMP, SNAPSHOT, TARGETS)

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


def in_days(days: float) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


class Mirror:
    """Its first version is published; ``files`` is what is served, by path."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.signers: dict[str, list[Signer]] = {}
        self.with_hashes = False
        self._published: set[str] = set()
        self.root = Root(version=1, expires=in_days(30), consistent_snapshot=True)
        self.targets = Targets(version=1, expires=in_days(30))
        self.snapshot = Snapshot(version=1, expires=in_days(30))
        self.timestamp = Timestamp(version=1, expires=in_days(30))
        self.delegated: dict[str, Targets] = {}
        for role in TOP:
            self.rotate(role)
        self.publish_root()
        self.publish(TARGETS)

    def rotate(self, role: str) -> None:
        """Give a top role one new key in the place of all it has."""
        self.root.roles[role].keyids.clear()
        self.signers[role] = []
        self.add_key(role)

    def add_key(self, role: str) -> None:
        signer = CryptoSigner.generate_ed25519()
        self.root.add_key(signer.public_key, role)
        self.signers[role].append(signer)

    def publish_root(self, *extra: Signer) -> bytes:
        """Publish the next root; ``extra`` signers sign it too, as the former keys must."""
        self._advance(ROOT, self.root)
        return self._put(ROOT, self.root, [*self.signers[ROOT], *extra])

    def publish(self, *roles: str) -> None:
        """Publish the next version of targets roles, then a snapshot and a timestamp."""
        for role in roles:
            self._advance(role, self.any_targets(role))
            self.put(role)
        self.publish_snapshot()

    def publish_snapshot(self) -> None:
        self._advance(SNAPSHOT, self.snapshot)
        self.put(SNAPSHOT)
        self.publish_timestamp()

    def publish_timestamp(self) -> None:
        self._advance(TIMESTAMP, self.timestamp)
        self.put(TIMESTAMP)

    def put(self, role: str) -> None:
        """Serve a role as it stands, and let the one above name it."""
        if role == TIMESTAMP:
            self._put(role, self.timestamp, self.signers[role])
        elif role == SNAPSHOT:
            content = self._put(role, self.snapshot, self.signers[role])
            self.timestamp.snapshot_meta = self._meta(self.snapshot.version, content)
        else:
            signed = self.any_targets(role)
            content = self._put(role, signed, self.signers[role])
            self.snapshot.meta[f"{role}.json"] = self._meta(signed.version, content)

    def any_targets(self, role: str) -> Targets:
        return self.targets if role == TARGETS else self.delegated[role]

    def delegate(
        self,
        by: str,
        role: str,
        paths: Sequence[str] = ("*",),
        *,
        terminating: bool = False,
        expires: datetime | None = None,
    ) -> Targets:
        """Let ``by`` hand ``paths`` to ``role``; publish both yourself."""
        delegator = self.any_targets(by)
        if delegator.delegations is None:
            delegator.delegations = Delegations({}, {})
        assert delegator.delegations.roles is not None
        entry = DelegatedRole(role, [], 1, terminating, list(paths))
        delegator.delegations.roles[role] = entry
        if role not in self.delegated:
            self.delegated[role] = Targets(version=1, expires=expires or in_days(30))
            self.signers[role] = [CryptoSigner.generate_ed25519()]
        delegator.add_key(self.signers[role][0].public_key, role)
        return self.delegated[role]

    def add_target(self, role: str, path: str, content: bytes) -> None:
        """Let a role vouch for a target, and serve it; publish the role yourself."""
        target = TargetFile.from_data(path, content, ["sha256"])
        self.any_targets(role).targets[path] = target
        self.serve_target(path, content, target)

    def serve_target(self, path: str, content: bytes, target: TargetFile | None = None) -> None:
        """Serve ``content`` where clients look for what is vouched for as ``path``."""
        found = target or self._target(path)
        folder, slash, name = path.rpartition("/")
        self.files[f"targets/{folder}{slash}{found.hashes['sha256']}.{name}"] = content

    def metadata_asked(self) -> list[str]:
        """Return the names of metadata asked for since the last call, and forget them."""
        found = [name.removeprefix("metadata/") for name in self.asked]
        found = [name for name in found if not name.startswith("targets/")]
        self.asked.clear()
        return found

    def targets_asked(self) -> int:
        return sum(name.startswith("targets/") for name in self.asked)

    def _advance(self, role: str, signed: Signed) -> None:
        """Go to the next version; the first is there from the beginning."""
        signed.version += role in self._published
        self._published.add(role)

    def _target(self, path: str) -> TargetFile:
        for targets in (self.targets, *self.delegated.values()):
            if path in targets.targets:
                return targets.targets[path]
        raise KeyError(path)

    def _put(self, role: str, signed: S, signers: Sequence[Signer]) -> bytes:
        metadata = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        content = metadata.to_bytes(JSONSerializer())
        name = quote(role, "") if role == TIMESTAMP else f"{signed.version}.{quote(role, '')}"
        self.files[f"metadata/{name}.json"] = content
        return content

    def _meta(self, version: int, content: bytes) -> MetaFile:
        if not self.with_hashes:
            return MetaFile(version)
        return MetaFile(version, len(content), {"sha256": hashlib.sha256(content).hexdigest()})


@contextmanager
def serving(mirror: Mirror) -> Iterator[str]:
    """Serve the mirror's files; yield the base of its URLs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            mirror.asked.append(name)
            content = mirror.files.get(name)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
