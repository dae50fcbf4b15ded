"""What a mirror, or a thief with some of the keys, does to what vouches for a title."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from manifests.documents import Release, encode, parse_head
from manifests.locations import release_key, trust_bundle_key
from manifests.names import TitleId
from manifests.trust_bundle import HEAD, encode_bundle, parse_bundle
from manifests.trust_document import parse, sign
from manifests.trust_metadata import pointed, snapshot_with, timestamp_with
from manifests.trust_roles import SNAPSHOT, TIMESTAMP
from playhead.trust import key_folder
from tests.attacks.mirror import Answer, Asked, Attack, Honest
from tests.attacks.stage import LIVE, Stage
from tests.attacks.wire import get

Change = Callable[[str, bytes], bytes | None]
"""Takes the name of a document and what it is; returns what is served in its place, if anything."""
S = TypeVar("S", Root, Targets, Snapshot, Timestamp)

PREFIX = "/trust/"


def serving(change: Change, *, has_bundle: bool = True) -> Attack:
    """Serve every document of trust as ``change`` has it: in the bundle, or one by one."""

    def attack(asked: Asked, forward: Honest) -> Answer:
        answer = forward()
        if asked.path.endswith("/trust"):
            if not has_bundle:
                return Answer(404)
            found = parse_bundle(answer.content)
            changed = {name: change(name, body) for name, body in found.items()}
            kept = {name: body for name, body in changed.items() if body is not None}
            return answer.with_body(encode_bundle(kept))
        if asked.path.startswith(PREFIX):
            # A document that the origin does not have may be one of the thief's.
            name = asked.path.removeprefix(PREFIX)
            body = change(name, answer.content if answer.status == 200 else b"")
            return Answer(404) if not body else Answer(200, body=body)
        if asked.path.endswith("/h/live"):
            body = change(HEAD, answer.content)
            return Answer(404) if body is None else Answer(200, body=body)
        return answer

    return attack


def instead(documents: Mapping[str, bytes]) -> Change:
    """Serve ``documents`` in the place of those of the same name."""
    return documents.get


def documents_of(stage: Stage, title: TitleId) -> dict[str, bytes]:
    """Return all that vouches for a title now, by the names it is served under."""
    reply = get(stage.origin.url, f"/{trust_bundle_key(title, LIVE)}")
    assert reply.status == 200
    return parse_bundle(reply.body)


def named(documents: Mapping[str, bytes], role: str) -> str:
    """Return the name of the document of ``role``, which may be the beginning of a role's name."""
    [found] = [
        name
        for name in documents
        if name == f"{role}.json" or name.partition(".")[2].removesuffix(".json").startswith(role)
    ]
    return found


def the_bin(documents: Mapping[str, bytes]) -> str:
    return named(documents, "release-bin-")


def changed_unsigned(document: bytes, **fields: object) -> bytes:
    """Change what is signed, and leave the signatures as they were."""
    found = json.loads(document)
    found["signed"] |= fields
    return json.dumps(found).encode()


def signed_by(document: bytes, signer: Signer, **fields: object) -> bytes:
    """Sign a changed document with a key that nobody gave that right."""
    found = json.loads(document)
    found["signed"] |= fields
    return sign(Metadata.from_dict(found).signed, [signer])


@dataclass
class Thief:
    """Whoever has all online keys of the platform: he signs bins, snapshots and timestamps."""

    stage: Stage
    title: TitleId
    ahead: int = 0
    """How many versions he skips."""
    served: dict[str, bytes] = field(default_factory=dict)

    def point_to(self, target: TargetFile, *more: tuple[str, bytes]) -> Change:
        """Let the channel point to ``target``; ``more`` are roles and what they sign besides."""
        now = documents_of(self.stage, self.title)
        name = the_bin(now)
        role = name.partition(".")[2].removesuffix(".json")
        bin_ = _said(now[name], Targets, role)
        snapshot = _said(now[named(now, SNAPSHOT)], Snapshot, SNAPSHOT)
        timestamp = _said(now[f"{TIMESTAMP}.json"], Timestamp, TIMESTAMP)
        next_bin = pointed(bin_, role, [target], time.time())
        versions = {role: next_bin.version}
        for other, document in more:
            version = int(json.loads(document)["signed"]["version"])
            versions[other] = version
            self.served[f"{version}.{other}.json"] = document
        next_snapshot = snapshot_with(snapshot, versions, time.time())
        next_snapshot.version += self.ahead
        timestamp.version += self.ahead
        next_timestamp = timestamp_with(timestamp, next_snapshot.version, time.time())
        self.served |= {
            f"{next_bin.version}.{role}.json": self._sign(next_bin, "release"),
            f"{next_snapshot.version}.snapshot.json": self._sign(next_snapshot, SNAPSHOT),
            "timestamp.json": self._sign(next_timestamp, TIMESTAMP),
        }
        return self.change

    def change(self, name: str, body: bytes) -> bytes | None:
        return self.served.get(name, body)

    def _sign(self, signed: Signed, role: str) -> bytes:
        return sign(signed, key_folder(self.stage.settings).online()[role])


def with_head(change: Change, stage: Stage, title: TitleId, release: Release) -> Change:
    """Also serve a head that names ``release``."""
    head = parse_head(documents_of(stage, title)[HEAD], title, LIVE)
    forged = encode(type(head)(title=title, channel=LIVE, release=release))
    return lambda name, body: forged if name == HEAD else change(name, body)


def put_release(stage: Stage, release: Release) -> None:
    """Put a release document where the origin serves it from."""
    (stage.objects / release_key(TitleId(release.title), release.counter)).write_bytes(
        encode(release)
    )


def _said(document: bytes, kind: type[S], role: str) -> S:
    return parse(document, kind, role).signed
