"""Names of roles and paths: one spelling each, and every path under exactly one shard's pattern."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import DelegatedRole

from kit.errors import InvalidInput
from manifests import trust_roles
from manifests.names import Channel, TitleId
from manifests.trust_roles import PublisherId

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


def _delegates(pattern: str, path: str) -> bool:
    return DelegatedRole("role", [], 1, terminating=True, paths=[pattern]).is_delegated_path(path)


@given(NAMES, NAMES, st.integers(1, 9_999_999_999))
def test_a_build_path_is_delegated_by_one_shard_and_to_its_title(
    publisher: str, title: str, counter: int
) -> None:
    owner, name = PublisherId(publisher), TitleId(title)
    path = trust_roles.build_path(owner, name, counter)
    shards = [
        shard
        for shard in trust_roles.shard_roles()
        if _delegates(trust_roles.shard_paths(shard), path)
    ]
    assert shards == [trust_roles.shard_role(owner)]
    assert _delegates(trust_roles.title_paths(owner, name), path)


@given(NAMES, NAMES, NAMES, NAMES)
def test_no_title_of_one_publisher_is_delegated_to_another(
    publisher: str, title: str, other: str, other_title: str
) -> None:
    path = trust_roles.build_path(PublisherId(publisher), TitleId(title), 7)
    pattern = trust_roles.title_paths(PublisherId(other), TitleId(other_title))
    assert _delegates(pattern, path) == ((publisher, title) == (other, other_title))


def test_a_head_path_is_delegated_to_the_platform_alone() -> None:
    path = trust_roles.head_path(TitleId("game"), Channel("live"))
    assert path == "head/game/live"
    assert _delegates(trust_roles.HEAD_PATHS, path)
    assert not any(_delegates(trust_roles.shard_paths(s), path) for s in trust_roles.shard_roles())


def test_another_spelling_of_a_publisher_is_refused() -> None:
    for text in ("", "A", "a/b", "a.b", "-a", "a-", "a" * 65):
        with pytest.raises(InvalidInput, match="publisher"):
            trust_roles.publisher_id(text)
