"""Paths of URLs: one spelling each, and the way back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunks.chunk_id import DIGEST_SIZE, Digest
from kit.errors import NotFound
from manifests.addresses import (
    Address,
    BundleAddress,
    HeadAddress,
    ManifestAddress,
    ReleaseAddress,
    SliceAddress,
    SliceListAddress,
    TimestampAddress,
    TrustAddress,
    TrustBundleAddress,
    parse_path,
)
from manifests.names import TITLE_PATTERN, Channel, TitleId
from manifests.trust_roles import PublisherId, publisher_role

names = st.from_regex(TITLE_PATTERN)
digests = st.binary(min_size=DIGEST_SIZE, max_size=DIGEST_SIZE).map(Digest)
title_ids = names.map(TitleId)

roles = st.one_of(
    st.sampled_from(["root", "targets", "snapshot", "release", "release-bin-0f", "shard-3f"]),
    names.map(lambda name: publisher_role(PublisherId(name))),
)

addresses: st.SearchStrategy[Address] = st.one_of(
    st.builds(HeadAddress, title_ids, names.map(Channel)),
    st.builds(ReleaseAddress, title_ids, st.integers(0, 9_999_999_999)),
    st.builds(ManifestAddress, title_ids, digests),
    st.builds(BundleAddress, title_ids, digests),
    st.builds(SliceListAddress, title_ids, digests),
    st.builds(SliceAddress, title_ids, digests, st.integers(0, 31)),
    st.builds(TrustBundleAddress, title_ids, names.map(Channel)),
    st.builds(TimestampAddress),
    st.builds(TrustAddress, roles, st.integers(1, 999_999_999)),
)


@given(addresses)
def test_every_address_is_read_back_from_its_path(address: Address) -> None:
    assert parse_path(address.path) == address


@given(addresses, st.data())
def test_no_two_paths_are_the_same_address(address: Address, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(address.path) - 1))
    other = address.path[:at] + data.draw(st.characters()) + address.path[at + 1 :]
    try:
        found = parse_path(other)
    except NotFound:
        return
    assert (found == address) == (other == address.path)


@pytest.mark.parametrize(
    "path",
    [
        *["", "/", "/t", "/t/a", "/t/a/h/", "/t/a/r/123", f"/t/a/b/{'0' * 64}/32", "/t/a/h/b\n"],
        *["/t/a/h/b/trust/", "/t/a/h/trust/trust/trust", "/trust/", "/trust/root.json"],
        *["/trust/1.timestamp.json", "/trust/01.root.json", "/trust/0.root.json"],
        *["/trust/1.publisher-.json", "/trust/1.shard-3.json", "/trust/1.root.json\n"],
        *["/trust/w/0000000001-x", "/trust/1.other.json", "/trust/1.publisher-A.json"],
    ],
)
def test_what_is_no_path_of_ours_is_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        parse_path(path)
