"""What a publisher hands in when it vouches for a release, and the rules it must keep.

Numbers are those of ``docs/operating/keys.md``, "What the platform accepts"; 6 and 7 are in
``registry.py``.

1. The title is the publisher's, and enough of the keys that its shard gives it signed.
2. It is the publisher's own role (bound), in exactly the next version.
3. It says all that it said before, and one thing more: the release. Nothing said is ever changed
   or taken back, for consoles install old titles by it.
4. What it says of the release is the length and digest of the release document.
5. It is good for years: who hands in a short expiry would see its titles die.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tuf.api.metadata import Targets

from kit.errors import Conflict, Denied, InvalidInput
from manifests.documents import Release
from manifests.names import TitleId
from manifests.trust_document import check_signed, parse
from manifests.trust_expiry import PUBLISHER_LIFETIME, PUBLISHER_WINDOW
from manifests.trust_metadata import titles_of, vouched
from manifests.trust_roles import PublisherId, publisher_role

CLOCK_ERROR = timedelta(days=1)
"""A publisher's clock may be ahead of ours by so much."""


class Stale(Conflict):
    """It builds on what is not the newest; sign again on top of what is."""


def check_title(shard: Targets | None, publisher: PublisherId, title: TitleId) -> Targets:
    """Return the shard if it gives the title to the publisher.

    Raises:
        Denied: It does not.
    """
    if shard is None or title not in titles_of(shard, publisher):
        raise Denied(f"title {title} is not enrolled for publisher {publisher}")
    return shard


def submitted(
    data: bytes,
    publisher: PublisherId,
    release: Release,
    *,
    shard: Targets,
    before: Targets | None,
    now_s: float,
) -> Targets | None:
    """Return what the publisher signed, if it keeps the rules; None if that is said already.

    ``before`` is what it said last, signed by the keys that it has now.

    Raises:
        FormatError: It is damaged, or bound to another role.
        Denied: Too few keys of the publisher signed it.
        Stale: Its version is not the next one.
        InvalidInput: It says more, less or other than it should, or for too short or long a time.
        Conflict: The counter was used for another release.
    """
    role = publisher_role(publisher)
    found = parse(data, Targets, role)
    check_signed(role, found, shard)
    signed = found.signed
    expected = vouched(before, publisher, [release], now_s)
    version = 0 if before is None else before.version
    if before is not None and signed.version <= version and expected.targets == before.targets:
        return None
    if signed.version != version + 1:
        raise Stale(
            f"metadata of {role} is version {signed.version}, and {version} is the newest here: "
            f"sign version {version + 1} on top of that"
        )
    _check_content(role, signed, expected)
    _check_expiry(role, signed.expires, now_s)
    return signed


def _check_content(role: str, signed: Targets, expected: Targets) -> None:
    for path in sorted(expected.targets.keys() | signed.targets.keys()):
        if expected.targets.get(path) != signed.targets.get(path):
            raise InvalidInput(
                f"metadata of {role}, version {signed.version}: {path[:200]} is not what it "
                "should be: all targets stay as they were, and only the release is added"
            )
    if signed.delegations is not None or (
        signed.unrecognized_fields != expected.unrecognized_fields
    ):
        raise InvalidInput(
            f"metadata of {role}, version {signed.version}, has delegations or fields that "
            "publishers do not use"
        )


def _check_expiry(role: str, expires: datetime, now_s: float) -> None:
    now = datetime.fromtimestamp(now_s, UTC)
    if not PUBLISHER_WINDOW < expires - now <= PUBLISHER_LIFETIME + CLOCK_ERROR:
        raise InvalidInput(
            f"metadata of {role} expires {expires:%Y-%m-%d}: expected more than "
            f"{PUBLISHER_WINDOW.days} and at most {PUBLISHER_LIFETIME.days} days from now"
        )
