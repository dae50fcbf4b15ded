"""Say why consoles would refuse a release: the two witnesses, seen from the platform's side."""

from __future__ import annotations

from kit.errors import NotFound
from manifests.documents import Release
from manifests.names import Channel
from manifests.trust_expiry import left_s
from manifests.trust_metadata import Said, bin_of, build_target, head_target, titles_of
from manifests.trust_roles import (
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    head_path,
    publisher_id,
    publisher_role,
    shard_role,
)
from origin.trust_reader import State, TrustReader


async def find_doubt(
    reader: TrustReader, state: State, release: Release, channel: Channel, now_s: float
) -> str | None:
    """Return the first rule that is broken; None if consoles believe it at ``now_s``.

    Raises:
        Denied, FormatError, IntegrityError: Something is not signed, or damaged: a doubt as well.
    """
    path = head_path(release.title, channel)
    bin_role = bin_of(state.release, path)
    heads = await reader.delegated(state, bin_role)
    head = None if heads is None else heads.targets.get(path)
    if heads is None or head is None:
        return f"the platform does not vouch for {path}"
    publisher = publisher_id(str(head.custom["publisher"]))
    if head != head_target(publisher, release, channel):
        return f"the platform vouches for release {head.custom['counter']} at {path}, not for this"
    role, shard_name = publisher_role(publisher), shard_role(publisher)
    try:
        shard = await reader.delegator(state, role)
    except NotFound as error:
        return str(error)
    if release.title not in titles_of(shard, publisher):
        return f"{shard_name} does not give the title to publisher {publisher}"
    said = await reader.delegated(state, role)
    target = build_target(publisher, release)
    if said is None or said.targets.get(target.path) != target:
        return f"publisher {publisher} does not vouch for {target.path}"
    tops: dict[str, Said] = {ROOT: state.root, TIMESTAMP: state.timestamp}
    tops |= {SNAPSHOT: state.snapshot, TARGETS: state.targets, RELEASE: state.release}
    return _first_expired({**tops, bin_role: heads, shard_name: shard, role: said}, now_s)


def _first_expired(roles: dict[str, Said], now_s: float) -> str | None:
    for role, said in roles.items():
        if left_s(said, now_s) <= 0:
            return f"what {role} signed expired on {said.expires:%Y-%m-%d}"
    return None
