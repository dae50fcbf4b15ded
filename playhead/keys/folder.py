"""The key folder: which keys this machine has, and the root that it trusts.

``keys.json`` names them by URI; ``root.json`` is the trusted root, which is no secret. On first use
the folder is made with everything that one machine needs to publish: its owner holds all roles,
each with a key of its own. ``keys.json`` is written last, so a folder without it is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec
from securesystemslib.signer import Signer

from kit.errors import NotFound, SettingsError
from kit.secret_files import folder_locked, read_secret, write_secret
from manifests.trust_document import sign
from manifests.trust_metadata import RoleKeys, root_with, targets_with
from manifests.trust_roles import RELEASE, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, PublisherId
from origin.draft import OnlineSigners
from playhead.keys.signers import KeyEntry, import_key, make_key, signer_of

KEYRING_NAME, ROOT_NAME, TARGETS_NAME = "keys.json", "root.json", "first-targets.json"
ONLINE_ROLES = (TIMESTAMP, SNAPSHOT, RELEASE)
LOCAL = PublisherId("local")
"""Who publishes on this machine, if nobody says otherwise."""


Group = Literal["online", "holders", "publishers"]


class Keyring(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``keys.json`` says: keys that this machine can sign with."""

    format: Literal[1] = 1
    online: dict[str, KeyEntry] = {}
    """By role: timestamp, snapshot, release."""
    following: dict[str, KeyEntry] = {}
    """Keys that shall replace others, by ``group/name`` of those; until then both sign."""
    holders: dict[str, KeyEntry] = {}
    """Holders of offline keys, by name."""
    publishers: dict[str, KeyEntry] = {}


class KeyFolder:
    """Reads and changes the folder; all of its methods block on the disk."""

    def __init__(self, path: Path, hsm_pin: str = "") -> None:
        self.path = path
        self.hsm_pin = hsm_pin
        self._online: tuple[Keyring, OnlineSigners] | None = None

    @property
    def is_made(self) -> bool:
        """Whether it holds keys."""
        return (self.path / KEYRING_NAME).exists()

    @property
    def is_platforms(self) -> bool:
        """Whether it holds what the platform signs with, and not only a holder's keys."""
        if not self.is_made:
            return False
        online = self.keyring().online.values()
        return bool(online) and all(map(self._is_here, online))

    def make(
        self, now_s: float, *, holder_count: int = 1, threshold: int = 1, root_threshold: int = 1
    ) -> bool:
        """Make keys for all roles and sign the first root and targets; return False if it has some.

        Each holder has a key for root and one for targets, so that neither does for the other.

        Raises:
            SettingsError, Denied, OutOfSpace: It cannot be written.
        """
        with folder_locked(self.path):
            if self.is_made:
                return False
            names = [str(number) for number in range(1, holder_count + 1)]
            ring = Keyring(
                online={role: make_key(self.path, role, "online") for role in ONLINE_ROLES},
                holders={
                    f"{role}-{name}": make_key(self.path, f"{role}-{name}", "offline")
                    for role in (ROOT, TARGETS)
                    for name in names
                },
                publishers={LOCAL: make_key(self.path, f"publisher-{LOCAL}", "offline")},
            )
            thresholds = {ROOT: root_threshold, TARGETS: threshold}
            self._write_first(ring, thresholds, now_s)
            self._write_keyring(ring)
            return True

    def make_one(self, kind: Literal["holder", "publisher"], name: str) -> dict[str, KeyEntry]:
        """Make the keys of one holder or publisher of a platform that is elsewhere.

        Returns:
            By role, ``root`` and ``targets`` or ``publisher``. Given again, the same keys.
        """
        with folder_locked(self.path):
            ring = self.keyring() if self.is_made else Keyring()
            if kind == "publisher":
                entry = ring.publishers.get(name) or self._made(f"publisher-{name}")
                ring = msgspec.structs.replace(ring, publishers={**ring.publishers, name: entry})
                found = {"publisher": entry}
            else:
                found = {
                    role: ring.holders.get(f"{role}-{name}") or self._made(f"{role}-{name}")
                    for role in (ROOT, TARGETS)
                }
                held = {f"{role}-{name}": entry for role, entry in found.items()}
                ring = msgspec.structs.replace(ring, holders={**ring.holders, **held})
            self._write_keyring(ring)
            return found

    def keyring(self) -> Keyring:
        """Return which keys there are.

        Raises:
            NotFound: None were made.
            SettingsError: What names them is damaged, or others may read it.
        """
        path = self.path / KEYRING_NAME
        try:
            return msgspec.json.decode(read_secret(path), type=Keyring)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is damaged: {error}") from error

    def change(self, change: Callable[[Keyring], Keyring]) -> Keyring:
        """Write down other keys; no other process changes them meanwhile."""
        with folder_locked(self.path):
            ring = change(self.keyring())
            self._write_keyring(ring)
            return ring

    def root(self) -> bytes:
        """Return the trusted root.

        Raises:
            NotFound: There is none.
        """
        return self._read(ROOT_NAME)

    def trust(self, root: bytes) -> None:
        """Trust another root from now on; it must follow the present one, signed as it should."""
        write_secret(self.path / ROOT_NAME, root)

    def first_targets(self) -> bytes:
        """Return the targets that a new repository begins with."""
        return self._read(TARGETS_NAME)

    def signer(self, entry: KeyEntry) -> Signer:
        """Return what signs with a key.

        Raises:
            SettingsError: Its private key is not to be had.
        """
        return signer_of(entry, self.path, self.hsm_pin)

    def follow(self, group: Group, name: str, uri: str | None = None) -> KeyEntry:
        """Make, or import from ``uri``, the key that shall replace one of those here.

        One that was made before and is not in force yet is taken again.

        Raises:
            NotFound: There is no such key to replace.
            InvalidInput, SettingsError: The one that ``uri`` names is not to be had.
        """
        place = f"{group}/{name}"
        ring = self.keyring()
        if name not in getattr(ring, group):
            have = ", ".join(sorted(getattr(ring, group))) or "none"
            raise NotFound(f"{self.path} has no key {name!r} of {group}; it has: {have}")
        if place in ring.following and uri in (None, ring.following[place].uri):
            return ring.following[place]
        entry = (
            make_key(
                self.path,
                f"publisher-{name}" if group == "publishers" else name,
                "online" if group == "online" else "offline",
            )
            if uri is None
            else import_key(uri, self.hsm_pin)
        )

        def with_entry(ring: Keyring) -> Keyring:
            return msgspec.structs.replace(ring, following={**ring.following, place: entry})

        self.change(with_entry)
        return entry

    def settle(self, is_in_force: Callable[[str, KeyEntry], bool]) -> list[str]:
        """Put keys in the place of those that they replace, and delete those; return which.

        ``is_in_force`` tells whether the repository names a key, given by ``group/name``.
        """
        settled: list[tuple[str, KeyEntry]] = []

        def swapped(ring: Keyring) -> Keyring:
            for place, entry in ring.following.items():
                group, _, name = place.partition("/")
                keys = getattr(ring, group)
                if is_in_force(place, entry) and not is_in_force(place, keys[name]):
                    settled.append((place, keys[name]))
                    ring = msgspec.structs.replace(ring, **{group: {**keys, name: entry}})
            gone = {place for place, _ in settled}
            left = {place: e for place, e in ring.following.items() if place not in gone}
            return msgspec.structs.replace(ring, following=left)

        if self.keyring().following:
            self.change(swapped)
        for _, entry in settled:
            if entry.is_file:
                (self.path / entry.uri.partition(":")[2]).unlink(missing_ok=True)
        return [place for place, _ in settled]

    def holders(self) -> list[Signer]:
        """Return what signs for the holders whose keys are here, and were not moved elsewhere."""
        return self._all_of("holders")

    def publishers(self) -> list[Signer]:
        """Return what signs for the publishers whose keys are here."""
        return self._all_of("publishers")

    def online(self) -> OnlineSigners:
        """Return the platform's own signers, as they are written down now.

        Raises:
            NotFound, SettingsError: There are none, or one is not to be had.
        """
        ring = self.keyring()
        if self._online is None or self._online[0] != ring:
            self._online = ring, {role: list(self._of_role(ring, role)) for role in ONLINE_ROLES}
        return self._online[1]

    def _of_role(self, ring: Keyring, role: str) -> Iterable[Signer]:
        for entry in (ring.online.get(role), ring.following.get(f"online/{role}")):
            if entry is not None:
                yield self.signer(entry)

    def _all_of(self, group: Group) -> list[Signer]:
        ring = self.keyring()
        entries = list(getattr(ring, group).values())
        entries += [e for name, e in ring.following.items() if name.startswith(f"{group}/")]
        return [self.signer(entry) for entry in entries if self._is_here(entry)]

    def _is_here(self, entry: KeyEntry) -> bool:
        return not entry.is_file or (self.path / entry.uri.partition(":")[2]).exists()

    def _made(self, name: str) -> KeyEntry:
        return make_key(self.path, name, "offline")

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"{self.path / name} does not exist") from error

    def _write_keyring(self, ring: Keyring) -> None:
        write_secret(self.path / KEYRING_NAME, msgspec.json.format(msgspec.json.encode(ring)))

    def _write_first(self, ring: Keyring, thresholds: dict[str, int], now_s: float) -> None:
        held = {
            role: [entry for name, entry in ring.holders.items() if name.startswith(f"{role}-")]
            for role in (ROOT, TARGETS)
        }
        roles = {
            role: RoleKeys(tuple(entry.key for entry in held[role]), thresholds[role])
            for role in held
        }
        online = {role: RoleKeys((entry.key,)) for role, entry in ring.online.items()}
        root = root_with(
            None, {**roles, **{role: online[role] for role in (TIMESTAMP, SNAPSHOT)}}, now_s
        )
        targets = targets_with(None, shards=roles[TARGETS], release=online[RELEASE], now_s=now_s)
        for name, signed, role in ((ROOT_NAME, root, ROOT), (TARGETS_NAME, targets, TARGETS)):
            document = sign(signed, [self.signer(entry) for entry in held[role]])
            write_secret(self.path / name, document)
