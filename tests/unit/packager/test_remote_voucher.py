"""A publisher signs what it published, on top of what it signed, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Targets

from kit.clock import ManualClock
from kit.errors import Conflict, Denied
from manifests.documents import ObjectRef, Release
from manifests.names import Channel, TitleId, Version
from manifests.trust_document import parse, sign
from manifests.trust_metadata import vouched
from manifests.trust_roles import PublisherId, build_path
from packager.remote_voucher import RemoteVoucher

ACME, LIVE = PublisherId("acme"), Channel("live")
NOW_S = 1_800_000_000.0


def release(counter: int) -> Release:
    return Release(
        title=TitleId("game"),
        counter=counter,
        version=Version("1"),
        created_at="2026-01-01T00:00:00Z",
        root=ObjectRef(digest="ab" * 32, size=100),
    )


@dataclass
class Origin:
    """Keeps what is handed in; ``before_next`` is signed by somebody else just before."""

    signer: Signer = field(default_factory=CryptoSigner.generate_ed25519)
    signed: bytes | None = None
    before_next: list[bytes] = field(default_factory=list)

    async def fetch(self) -> bytes | None:
        return self.signed

    async def hand_in(self, _release: Release, _channel: Channel, signed: bytes) -> None:
        if self.before_next:
            self.signed = self.before_next.pop()
        newest = 0 if self.signed is None else self.said().version
        if parse(signed, Targets, "publisher-acme").signed.version != newest + 1:
            raise Conflict("not the next version")
        self.signed = signed

    async def ask_doubt(self, _release: Release, _channel: Channel) -> str | None:
        return "the platform does not vouch for it"

    def said(self) -> Targets:
        assert self.signed is not None
        return parse(self.signed, Targets, "publisher-acme").signed

    def voucher(self, signer: Signer | None = None) -> RemoteVoucher:
        return RemoteVoucher(
            ACME,
            signer or self.signer,
            fetch=self.fetch,
            hand_in=self.hand_in,
            ask_doubt=self.ask_doubt,
            clock=ManualClock(NOW_S),
        )


async def test_releases_are_added_one_by_one() -> None:
    origin = Origin()
    for counter in (1, 2):
        await origin.voucher().vouch(release(counter), LIVE)
    paths = {build_path(ACME, TitleId("game"), counter) for counter in (1, 2)}
    assert (set(origin.said().targets), origin.said().version) == (paths, 2)


async def test_who_was_overtaken_signs_again_on_top() -> None:
    origin = Origin()
    faster = sign(vouched(None, ACME, [release(7)], NOW_S), [origin.signer])
    origin.before_next = [faster]
    await origin.voucher().vouch(release(8), LIVE)
    assert (len(origin.said().targets), origin.said().version) == (2, 2)


async def test_a_refusal_that_is_no_race_is_passed_on() -> None:
    class Refusing(Origin):
        async def hand_in(self, *_: object) -> None:
            raise Conflict("the channel plays a newer release")

    with pytest.raises(Conflict, match="newer release"):
        await Refusing().voucher().vouch(release(1), LIVE)


async def test_nothing_is_signed_on_top_of_what_another_key_signed() -> None:
    origin = Origin()
    forged = vouched(None, ACME, [release(666)], NOW_S)
    origin.signed = sign(forged, [CryptoSigner.generate_ed25519()])
    before = origin.signed
    with pytest.raises(Denied, match="was not signed by this machine's key"):
        await origin.voucher().vouch(release(1), LIVE)
    assert origin.signed == before


async def test_nothing_is_signed_on_top_of_what_was_changed_after_signing() -> None:
    origin = Origin()
    await origin.voucher().vouch(release(1), LIVE)
    assert origin.signed is not None
    origin.signed = origin.signed.replace(b"0000000001", b"0000000009")
    with pytest.raises(Denied, match="was not signed"):
        await origin.voucher().vouch(release(2), LIVE)


async def test_what_its_own_key_never_signed_is_in_doubt_whatever_the_origin_says() -> None:
    origin = Origin()
    await origin.voucher().vouch(release(1), LIVE)
    assert await origin.voucher().doubt(release(1), LIVE) == "the platform does not vouch for it"
    doubt = await origin.voucher().doubt(release(2), LIVE)
    assert doubt == "publisher acme does not vouch for release 2"
