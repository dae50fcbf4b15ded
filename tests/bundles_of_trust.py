"""What vouches for a title of :mod:`tests.titles`, and the bundle that an origin makes of it."""

from __future__ import annotations

from manifests.documents import parse_release
from manifests.trust_bundle import HEAD
from manifests.trust_roles import (
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    head_path,
    publisher_role,
    shard_role,
)
from tests.titles import LIVE, TITLE, PublishedTitle
from tests.trust_repository import TrustRepository

STUDIO = PublisherId("studio")


def vouching_for(title: PublishedTitle) -> TrustRepository:
    repository = TrustRepository()
    repository.enrol(STUDIO, TITLE)
    repository.publish(STUDIO, parse_release(title.release, TITLE, 1))
    return repository


def documents_of(repository: TrustRepository, head: bytes) -> dict[str, bytes]:
    """Return what the bundle of the title's channel holds, in its order."""
    bin_role = repository.bin_of(head_path(TITLE, LIVE))
    roles = [ROOT, SNAPSHOT, TARGETS, RELEASE, bin_role, shard_role(STUDIO), publisher_role(STUDIO)]
    names = [f"{repository.signed[role].version}.{role}.json" for role in roles]
    return {HEAD: head, **{name: repository.files[name] for name in (f"{TIMESTAMP}.json", *names)}}
