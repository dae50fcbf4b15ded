"""Key rings: there is always a key to sign with, and nothing signed is refused for a rotation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kit.access_token import KEY_SIZE
from kit.clock import ManualClock
from kit.errors import NotFound, SettingsError
from kit.key_ring import (
    BELIEVED_FOR_S,
    KEYS_MAX,
    SETTLED_AFTER_S,
    SIGNED_FOR_AT_MOST_S,
    SIGNS_AT_MOST_S,
    SIGNS_FOR_S,
    KeyRing,
    parse_ring,
)
from kit.key_ring_file import KeyRingFile

START_S = 1_800_000_000


@example([BELIEVED_FOR_S - 900, 1])  # away until the key has little left, but is still believed
@given(st.lists(st.integers(1, 3 * SIGNS_FOR_S), max_size=40))
def test_what_was_signed_is_believed_as_long_as_it_lasts(waits_s: list[int]) -> None:
    now_s, ring = START_S, KeyRing()
    for number, wait_s in enumerate(waits_s):
        if ring.is_due(now_s):
            ring = ring.rotated(now_s, bytes([number]) * KEY_SIZE)
        signing = ring.signing(now_s)
        assert signing is not None
        assert ring.believed(now_s + SIGNED_FOR_AT_MOST_S - 1)[signing.key_id] == signing.raw_key
        assert len(ring.keys) <= KEYS_MAX
        assert parse_ring(ring.encode(), "ring") == ring
        now_s += wait_s


def test_a_new_key_signs_only_after_others_have_heard_of_it() -> None:
    ring = KeyRing().rotated(START_S, bytes(KEY_SIZE))
    first = ring.signing(START_S)
    now_s = START_S + SIGNS_FOR_S
    ring = ring.rotated(now_s, bytes([1]) * KEY_SIZE)
    assert len(ring.believed(now_s)) == 2
    assert ring.signing(now_s + SETTLED_AFTER_S - 1) == first
    assert ring.signing(now_s + SETTLED_AFTER_S) != first


def test_a_key_is_over_after_two_days() -> None:
    ring = KeyRing().rotated(START_S, bytes(KEY_SIZE))
    assert ring.believed(START_S + BELIEVED_FOR_S - 1)
    assert not ring.believed(START_S + BELIEVED_FOR_S)


def test_a_key_does_not_sign_what_would_outlast_it() -> None:
    ring = KeyRing().rotated(START_S, bytes(KEY_SIZE))
    assert ring.signing(START_S + SIGNS_AT_MOST_S - 1)
    assert ring.signing(START_S + SIGNS_AT_MOST_S) is None


def test_many_rotations_in_a_second_leave_one_key_of_it() -> None:
    ring = KeyRing()
    for number in range(3):
        ring = ring.rotated(START_S, bytes([number]) * KEY_SIZE)
    assert [each.raw_key[0] for each in ring.keys] == [2]


@pytest.mark.parametrize("data", [b"", b"{}x", b"[" * 10_000, b'{"format":2}', b'{"keys":[{}]}'])
def test_what_is_no_ring_is_named_and_its_content_is_not(data: bytes) -> None:
    with pytest.raises(SettingsError, match=r"leases\.json: not a ring") as caught:
        parse_ring(data, "leases.json")
    assert caught.value.__cause__ is None


def test_the_file_is_made_for_its_owner_alone_and_read_by_another(tmp_path: Path) -> None:
    clock, path = ManualClock(START_S), tmp_path / "keys" / "leases.json"
    reader = KeyRingFile(path, clock)
    with pytest.raises(NotFound, match=r"leases\.json does not exist"):
        reader.read()
    key = KeyRingFile(path, clock).signing()
    assert path.stat().st_mode & 0o777 == 0o600
    assert reader.read().believed(START_S) == {key.key_id: key.raw_key}


def test_a_reader_sees_a_rotation(tmp_path: Path) -> None:
    clock, path = ManualClock(START_S), tmp_path / "leases.json"
    signer, reader = KeyRingFile(path, clock), KeyRingFile(path, clock)
    first = signer.signing()
    assert reader.read().believed(clock.now()) == {first.key_id: first.raw_key}
    clock.advance(SIGNS_FOR_S)
    assert signer.signing() == first
    assert len(reader.read().believed(clock.now())) == 2


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = KeyRingFile(tmp_path / "leases.json", ManualClock(START_S))
    file.signing()
    file.path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        KeyRingFile(file.path, ManualClock(START_S)).read()


def test_many_who_find_no_key_make_one(tmp_path: Path) -> None:
    clock, path = ManualClock(START_S), tmp_path / "leases.json"
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: KeyRingFile(path, clock).signing(), range(32)))
    assert len(found) == 1
