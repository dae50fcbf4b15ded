"""Keys of one machine and of several: made, handed over, replaced, revoked, looked after."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import AWSSigner, CryptoSigner, SSlibKey

from kit.clock import ManualClock, SystemClock
from kit.errors import Conflict, Denied, InvalidInput, NotFound, SettingsError
from kit.object_storage.testing import MemoryStorage
from manifests.documents import encode
from manifests.locations import release_key
from manifests.names import TitleId
from manifests.trust_change import Change, missing, parse_change
from manifests.trust_document import sign
from manifests.trust_metadata import role_keys, shard_with
from manifests.trust_plan import Standing
from manifests.trust_roles import (
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    shard_role,
)
from manifests.trust_summary import summary
from origin.registry import Registry
from playhead.key_commands import (
    Office,
    Plan,
    plan_holder,
    plan_publisher,
    plan_publisher_revocation,
    plan_renewal,
    plan_revocation,
    plan_rotation,
    read_change,
    write_change,
)
from playhead.keys.changing import Progress, carry_out
from playhead.keys.doctor import Diagnosis, examine
from playhead.keys.folder import LOCAL, KeyFolder
from playhead.keys.public_file import read_public, write_public
from playhead.keys.signers import import_key
from playhead.settings import Settings
from playhead.trust import LocalVoucher, open_registry, registry_for_renewal, registry_of
from tests.registries import LIVE, StockClient
from tests.trust_repository import NOW_S, a_release, keys_of

DAY_S = 86400


class Machine:
    """A platform on one machine: its folder, its storage, and a console that trusts it."""

    def __init__(self, folder: Path) -> None:
        self.storage = MemoryStorage()
        self.clock = ManualClock(NOW_S)
        self.folder = KeyFolder(folder / "keys")
        self.scratch = folder
        self.said: list[str] = []

    async def start(self) -> Registry:
        return await open_registry(self.folder, self.storage, self.said.append, self.clock)

    def office(self) -> Office:
        registry = registry_of(self.folder, self.storage, self.folder.root(), self.clock)
        return Office(self.folder, registry, self.clock)

    async def change(self, plan: Plan) -> Progress:
        office = await asyncio.to_thread(self.office)
        return await office.carry_out(await office.plan(plan))

    async def rotate(self, kind: str, name: str) -> Progress:
        plan = await asyncio.to_thread(plan_rotation, self.folder, kind, name, None)  # type: ignore[arg-type]
        return await self.change(plan)

    async def publish(self, title: str, counter: int = 1) -> None:
        release = a_release(title, counter)
        key = release_key(release.title, release.counter)
        await self.storage.put(key, encode(release))
        registry = await self.start()
        entry = self.folder.keyring().publishers[LOCAL]
        try:
            await registry.publisher_of(release.title)
        except NotFound:
            await registry.enrol(
                LOCAL, keys_of(self.folder.signer(entry)), [release.title], self.folder.holders()
            )
        await registry.vouch(LOCAL, self.folder.signer(entry), release, LIVE)

    async def doctor(self) -> Diagnosis:
        office = await asyncio.to_thread(self.office)
        return await examine(self.folder, office.registry, self.clock)

    def client(self) -> StockClient:
        return StockClient(self.storage, self.folder.root(), self.clock)


pytestmark = pytest.mark.may_block


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def public_file(folder: Path, kind: str, name: str) -> tuple[KeyFolder, Path]:
    """Make keys on another machine; return its folder and what it hands over."""
    elsewhere = KeyFolder(folder / f"{name}-keys")
    path = folder / f"{name}.json"
    write_public(path, name, elsewhere.make_one(kind, name))  # type: ignore[arg-type]
    return elsewhere, path


async def test_first_use_makes_keys_once_and_says_so_once(machine: Machine) -> None:
    await machine.start()
    ring = machine.folder.keyring()
    await machine.start()
    assert machine.folder.keyring() == ring
    assert machine.said == [f"made keys in {machine.folder.path}: keep a copy of it, offline"]
    assert {path.stat().st_mode & 0o777 for path in machine.folder.path.iterdir()} == {0o600}


async def test_two_who_are_first_at_once_make_one_set_of_keys(machine: Machine) -> None:
    made = await asyncio.gather(*(asyncio.to_thread(machine.folder.make, NOW_S) for _ in range(4)))
    assert sorted(made) == [False, False, False, True]
    machine.folder.online()


async def test_push_and_serve_that_are_first_at_once_make_one_repository(machine: Machine) -> None:
    folders = [KeyFolder(machine.folder.path) for _ in range(3)]
    registries = await asyncio.gather(
        *(
            open_registry(folder, machine.storage, machine.said.append, SystemClock())
            for folder in folders
        )
    )
    assert len(machine.said) == 1
    states = [await registry.state() for registry in registries]
    assert {state.timestamp.version for state in states} == {1}


async def test_folder_that_was_cut_off_before_its_keyring_is_made_again(machine: Machine) -> None:
    machine.folder.make(NOW_S)
    (machine.folder.path / "keys.json").unlink()
    await machine.start()
    await machine.publish("a-title")
    client = machine.client()
    assert client.believes(LOCAL, a_release("a-title"))
    client.close()


async def test_storage_that_other_keys_vouch_for_is_left_alone(
    machine: Machine, tmp_path: Path
) -> None:
    await machine.start()
    stored = dict(machine.storage._objects)
    other = KeyFolder(tmp_path / "other")
    with pytest.raises(SettingsError, match="vouched for by keys that are not in"):
        await open_registry(other, machine.storage, machine.said.append, machine.clock)
    assert not other.is_made
    other.make(NOW_S)
    with pytest.raises(Conflict, match="another root than the one trusted here"):
        await open_registry(other, machine.storage, machine.said.append, machine.clock)
    assert machine.storage._objects == stored


async def test_origin_without_the_keys_renews_nothing(machine: Machine, tmp_path: Path) -> None:
    await machine.start()
    settings = Settings(data=tmp_path / "elsewhere")
    assert await registry_for_renewal(settings, machine.storage) is None
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", [TIMESTAMP, SNAPSHOT, RELEASE])
async def test_online_key_is_replaced_and_its_file_deleted(machine: Machine, name: str) -> None:
    await machine.start()
    await machine.publish("a-title")
    client = machine.client()
    before = machine.folder.keyring().online[name]
    progress = await machine.rotate("online", name)
    assert progress.is_installed
    assert progress.settled == (f"online/{name}",)
    after = machine.folder.keyring().online[name]
    assert after != before
    assert not (machine.folder.path / before.uri.partition(":")[2]).exists()
    assert not machine.folder.keyring().following
    await machine.publish("a-title", 2)
    assert client.believes(LOCAL, a_release("a-title", 2))
    assert (await machine.doctor()).ailments == ()
    client.close()


async def test_rotation_that_was_cut_off_goes_on_with_the_same_key(machine: Machine) -> None:
    await machine.start()
    first = machine.folder.follow("online", TIMESTAMP)
    await machine.publish("a-title")  # both sign meanwhile
    client = machine.client()
    await machine.rotate("online", TIMESTAMP)
    assert machine.folder.keyring().online[TIMESTAMP] == first
    assert client.believes(LOCAL, a_release("a-title"))
    client.close()


async def test_publisher_key_is_replaced_with_what_it_said(machine: Machine) -> None:
    await machine.start()
    await machine.publish("a-title")
    client = machine.client()
    progress = await machine.rotate("publishers", LOCAL)
    assert progress.settled == (f"publishers/{LOCAL}",)
    assert client.believes(LOCAL, a_release("a-title"))
    await machine.publish("a-title", 2)
    assert client.believes(LOCAL, a_release("a-title", 2))
    client.close()


async def test_holder_key_is_replaced(machine: Machine) -> None:
    await machine.start()
    await machine.publish("a-title")
    client = machine.client()
    for name in ("root-1", "targets-1"):
        progress = await machine.rotate("holders", name)
        assert progress.settled == (f"holders/{name}",)
        await machine.publish(f"of-{name}")
        assert client.believes(LOCAL, a_release(f"of-{name}"))
    assert client.believes(LOCAL, a_release("a-title"))
    client.close()


async def test_two_holders_on_two_machines_must_both_sign(machine: Machine, tmp_path: Path) -> None:
    await machine.start()
    await machine.publish("a-title")
    client = machine.client()
    bob, public = public_file(tmp_path, "holder", "bob")
    # Root and targets need two from then on; so bob signs that he is a holder.
    begun = await machine.change(plan_holder(public, (ROOT, TARGETS), 2))
    assert not begun.is_installed
    assert [each.role for each in begun.missing] == [ROOT, TARGETS, shard_role(LOCAL)]
    path = tmp_path / "change.json"
    write_change(path, begun.change)
    at_bob = await carry_out(read_change(path), bob, None)
    assert at_bob.missing == ()
    write_change(path, at_bob.change)
    done = await machine.office().carry_out(read_change(path))
    assert done.is_installed
    assert client.believes(LOCAL, a_release("a-title"))
    # The same file again does no harm.
    assert (await machine.office().carry_out(read_change(path))).is_installed
    # One holder alone enrols nobody now.
    with pytest.raises(Denied, match="signed by 1/2 keys"):
        await machine.publish("b-title")
    enrolling = await machine.change(plan_publisher(LOCAL, None, ["b-title"]))
    assert not enrolling.is_installed
    signed = await carry_out(enrolling.change, bob, None)
    assert (await machine.office().carry_out(signed.change)).is_installed
    await machine.publish("b-title")
    assert client.believes(LOCAL, a_release("b-title"))
    client.close()


async def test_holders_keys_that_were_moved_elsewhere_sign_there(
    machine: Machine, tmp_path: Path
) -> None:
    machine.folder.make(NOW_S, holder_count=3, threshold=2, root_threshold=2)
    await machine.start()
    elsewhere = KeyFolder(tmp_path / "elsewhere")
    elsewhere.path.mkdir(mode=0o700)
    ring = machine.folder.keyring()
    for name, entry in ring.holders.items():
        if not name.endswith("-1"):
            file_name = entry.uri.partition(":")[2]
            (machine.folder.path / file_name).rename(elsewhere.path / file_name)
    shutil.copy(machine.folder.path / "keys.json", elsewhere.path / "keys.json")
    assert machine.folder.is_platforms
    assert not elsewhere.is_platforms
    begun = await machine.change(enrolling_local(machine))
    assert [(each.signed, each.threshold) for each in begun.missing] == [(1, 2)]
    signed = await carry_out(begun.change, elsewhere, None)
    assert (await machine.office().carry_out(signed.change)).is_installed
    assert (await machine.doctor()).ailments == ()


async def test_revoked_holder_counts_no_more(machine: Machine, tmp_path: Path) -> None:
    registry = await machine.start()
    await machine.publish("a-title")
    bob, public = public_file(tmp_path, "holder", "bob")
    await machine.change(plan_holder(public, (ROOT, TARGETS), None))
    [bob_targets] = [e for n, e in bob.keyring().holders.items() if n == "targets-bob"]
    bob_root = bob.keyring().holders["root-bob"].key.keyid
    for key_id in (bob_targets.key.keyid, bob_root):
        progress = await machine.change(plan_revocation(machine.folder, key_id[:12], None))
        assert progress.is_installed
    state = await registry.state()
    assert bob_root not in {key.keyid for key in role_keys(state.root, ROOT).keys}
    shard = await registry.said(shard_role(LOCAL))
    assert shard is not None
    stolen = shard_with(shard, LOCAL, keys_of(bob.signer(bob_targets)), [], NOW_S)
    with pytest.raises(Denied, match=r"shard-.. was signed by 0/1 keys"):
        await registry.install({shard_role(LOCAL): sign(stolen, bob.holders())})


async def test_last_holder_cannot_be_revoked(machine: Machine) -> None:
    await machine.start()
    with pytest.raises(Conflict, match="role root would have 0 keys, and 1 must sign"):
        await machine.change(plan_revocation(machine.folder, "root-1", None))


async def test_revoked_publisher_is_refused_by_consoles(machine: Machine) -> None:
    await machine.start()
    await machine.publish("a-title")
    await machine.publish("b-title")
    client = machine.client()
    await machine.change(plan_publisher_revocation(LOCAL, ["a-title"]))
    assert not client.believes(LOCAL, a_release("a-title"))
    assert client.believes(LOCAL, a_release("b-title"))
    await machine.change(plan_publisher_revocation(LOCAL, []))
    assert not client.believes(LOCAL, a_release("b-title"))
    with pytest.raises(NotFound, match="publisher local is not enrolled"):
        await machine.change(plan_publisher_revocation(LOCAL, []))
    client.close()


async def test_publisher_elsewhere_is_enrolled_by_its_public_key(
    machine: Machine, tmp_path: Path
) -> None:
    registry = await machine.start()
    acme, public = public_file(tmp_path, "publisher", "acme")
    await machine.change(plan_publisher("acme", public, ["a-title"]))
    assert await registry.publisher_of(TitleId("a-title")) == "acme"
    voucher = LocalVoucher(machine.folder, machine.storage, machine.said.append)
    with pytest.raises(Denied, match="title a-title is publisher acme's, whose key is not in"):
        await voucher.vouch(a_release("a-title"), LIVE)
    with pytest.raises(Conflict, match="title a-title is enrolled for publisher acme"):
        await machine.change(plan_publisher("other", public, ["a-title"]))
    with pytest.raises(NotFound, match="publisher other is not enrolled yet"):
        await machine.change(plan_publisher("other", None, ["b-title"]))
    assert (
        acme.make_one("publisher", "acme")["publisher"].public
        == read_public(public).keys["publisher"]
    )


async def test_holders_sign_anew_what_expires_soon(machine: Machine) -> None:
    await machine.start()
    await machine.publish("a-title")
    with pytest.raises(Conflict, match="nothing expires soon"):
        await machine.change(plan_renewal)
    machine.clock.advance(320 * DAY_S)
    found = await machine.doctor()
    assert {each.detail.split()[0] for each in found.ailments if each.what == "expiry"} >= {
        ROOT,
        TARGETS,
        shard_role(LOCAL),
    }
    await machine.change(plan_renewal)
    await machine.office().registry.renew()
    assert (await machine.doctor()).ailments == ()
    machine.client().close()


async def test_doctor_finds_nothing_on_a_healthy_machine(machine: Machine) -> None:
    await machine.start()
    await machine.publish("a-title")
    found = await machine.doctor()
    assert found.ailments == ()
    assert (found.publisher_count, found.title_count) == (1, 1)
    assert [role.role for role in found.roles[:5]] == [ROOT, TARGETS, SNAPSHOT, TIMESTAMP, RELEASE]
    assert len(found.notes) == 2


async def test_doctor_names_what_is_wrong(machine: Machine, tmp_path: Path) -> None:
    registry = await machine.start()
    await machine.publish("a-title")
    other = PublisherId("another")
    shard = await registry.said(shard_role(other))
    key = machine.folder.holders()[0]
    twice = shard_with(shard, other, keys_of(key), [TitleId("a-title")], NOW_S)
    await registry.install({shard_role(other): sign(twice, machine.folder.holders())})
    (machine.folder.path / "keys.json").chmod(0o644)
    found = await machine.doctor()
    assert {each.what for each in found.ailments} == {"title", "permissions", "keys"}
    assert "title a-title is delegated to another and local" in [e.detail for e in found.ailments]
    (machine.folder.path / "keys.json").chmod(0o600)
    stranger = KeyFolder(tmp_path / "stranger")
    stranger.make(NOW_S)
    machine.folder.change(
        lambda ring: msgspec.structs.replace(
            ring, online={**ring.online, TIMESTAMP: ring.online[SNAPSHOT]}
        )
    )
    details = [each.detail for each in (await machine.doctor()).ailments]
    assert "the key of timestamp that is here is not the one in force" in details


async def test_doctor_names_a_publisher_that_must_sign_anew(machine: Machine) -> None:
    registry = await machine.start()
    await machine.publish("a-title")
    shard = await registry.said(shard_role(LOCAL))
    assert shard is not None
    replaced = shard_with(
        shard, LOCAL, keys_of(machine.folder.holders()[0]), [TitleId("a-title")], NOW_S
    )
    await registry.install({shard_role(LOCAL): sign(replaced, machine.folder.holders())})
    [ailment] = (await machine.doctor()).ailments
    assert ailment.what == "signature"
    assert "metadata of publisher-local" in ailment.detail


async def test_plan_says_in_words_what_it_changes(machine: Machine, tmp_path: Path) -> None:
    await machine.start()
    await machine.publish("a-title")
    _, public = public_file(tmp_path, "holder", "bob")
    bob = read_public(public).key(ROOT).keyid[:12]
    change = await machine.office().plan(plan_holder(public, [ROOT], 2))
    assert summary(change) == [
        "root: version 2, expires 2027-01-01",
        f"root: key {bob} may sign",
        "root: 2 must sign, not 1",
    ]
    taken = await machine.office().plan(plan_publisher_revocation(LOCAL, []))
    assert summary(taken)[1] == ("publisher local is taken out: consoles refuse all that it signed")


async def test_change_that_lies_about_what_is_said_now_is_refused(machine: Machine) -> None:
    await machine.start()
    await machine.publish("a-title")
    change = await machine.office().plan(plan_publisher(LOCAL, None, ["b-title"]))
    assert parse_change(msgspec.json.encode(change)) == change

    def with_before(role: str, damage: Callable[[str], str]) -> bytes:
        before = {**change.before, role: damage(change.before[role])}
        return msgspec.json.encode(msgspec.structs.replace(change, before=before))

    shard = shard_role(LOCAL)
    lies = [
        with_before(ROOT, lambda text: text.replace('"threshold":1', '"threshold":0')),
        with_before(TARGETS, lambda text: text.replace('"version":1', '"version":7')),
        with_before(shard, lambda text: text.replace("a-title", "z-title")),
        b"{}",
        b"[" * 10_000,
        msgspec.json.encode(msgspec.structs.replace(change, after={})),
    ]
    for lie in lies:
        with pytest.raises((Denied, InvalidInput)):
            parse_change(lie)


async def test_signature_that_does_not_count_is_not_made(machine: Machine, tmp_path: Path) -> None:
    await machine.start()
    mallory, _ = public_file(tmp_path, "holder", "mallory")
    change = await machine.office().plan(enrolling_local(machine))
    signed = await carry_out(change, mallory, None)
    assert signed.change == change
    assert [(each.signed, each.threshold) for each in missing(signed.change)] == [(0, 1)]


def enrolling_local(machine: Machine) -> Callable[[Standing], Change]:
    """Enrol the local publisher for a title, with the key that it has."""
    entry = machine.folder.keyring().publishers[LOCAL]
    path = machine.scratch / "local.json"
    write_public(path, LOCAL, {"publisher": entry})
    return plan_publisher(LOCAL, path, ["a-title"])


def test_offline_keys_are_files_only(machine: Machine) -> None:
    machine.folder.make(NOW_S)
    with pytest.raises(InvalidInput, match="only keys of timestamp, snapshot and release"):
        plan_rotation(machine.folder, "holders", "root-1", "hsm:2")
    with pytest.raises(NotFound, match="has no key 'nobody' of holders; it has: root-1"):
        plan_rotation(machine.folder, "holders", "nobody", None)


def test_unknown_kind_of_key_is_named() -> None:
    with pytest.raises(InvalidInput, match="expected hsm:NUMBER or awskms:KEY"):
        import_key("https://keys.example", "")


async def test_kms_key_is_asked_for_its_public_key_once_and_signs(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A KMS that holds a P-256 key stands behind the library's own signer."""
    await machine.start()
    await machine.publish("a-title")
    client = machine.client()
    inner = CryptoSigner.generate_ecdsa()

    def imported(key_id: str, local_scheme: str | None = None) -> tuple[str, SSlibKey]:
        assert (key_id, local_scheme) == ("alias/timestamp", "ecdsa-sha2-nistp256")
        return f"awskms:{key_id}", inner.public_key

    monkeypatch.setattr(AWSSigner, "import_", imported)
    monkeypatch.setattr(AWSSigner, "__init__", lambda self, key_id, key: None)
    monkeypatch.setattr(AWSSigner, "public_key", property(lambda _: inner.public_key))
    monkeypatch.setattr(AWSSigner, "sign", lambda _, payload: inner.sign(payload))
    plan = plan_rotation(machine.folder, "online", TIMESTAMP, "awskms:alias/timestamp")
    assert (await machine.change(plan)).is_installed
    assert machine.folder.keyring().online[TIMESTAMP].uri == "awskms:alias/timestamp"
    await machine.publish("a-title", 2)
    assert client.believes(LOCAL, a_release("a-title", 2))
    client.close()


def test_private_key_that_is_another_is_named(machine: Machine) -> None:
    machine.folder.make(NOW_S)
    ring = machine.folder.keyring()
    one, two = (ring.online[role].uri.partition(":")[2] for role in (TIMESTAMP, SNAPSHOT))
    (machine.folder.path / one).write_bytes((machine.folder.path / two).read_bytes())
    with pytest.raises(SettingsError, match="is not the private key it should be"):
        machine.folder.online()
