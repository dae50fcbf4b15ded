"""Everything that can be told to Playhead, in one typed tree (``docs/settings.md``)."""

from __future__ import annotations

from pathlib import Path

from console.settings import ConsoleSettings
from edge.engines.settings import EngineSettings, GateSettings
from edge.settings import EdgeSettings
from kit.http_settings import ClientSettings
from kit.object_storage.s3_settings import S3Settings
from kit.object_storage.wrappers import RetrySettings
from kit.settings import Group
from kit.storage_lock import LockSettings
from kit.units import Seconds
from origin.publishing.settings import PublishingSettings
from origin.settings import OriginSettings
from packager.settings import DeltaSettings, SweepSettings
from playhead.key_settings import KeysSettings
from services.accounts.settings import AccountsSettings
from services.entitlement.settings import EntitlementSettings


class StorageSettings(Group, frozen=True):
    """Where published titles are kept."""

    s3: S3Settings | None = None
    """A bucket. Without one, titles are kept in the folder ``objects`` below ``data``."""
    retries: RetrySettings = RetrySettings()


class LeaseSettings(Group, frozen=True):
    """How downloads are permitted."""

    keys_file: Path = Path("leases.json")
    """The keys that leases are made and checked by, below ``keys.dir`` unless absolute. Every node
    needs the same; whoever mints leases replaces them daily."""
    feed: str = ""
    """Base URL of the entitlement service that tells origins and edges what was revoked. Without
    one they look into this machine's folder `entitlement.dir`, and replace the keys themselves."""
    ca_file: Path | None = None
    """PEM file of the authorities that vouch for the feed, if not those the system believes."""


class PackagerSettings(Group, frozen=True):
    """How a publisher works."""

    cache_dir: Path = Path("packager")
    """Folder, below ``data`` unless absolute, for what pushes remember; it may be deleted."""
    lock: LockSettings = LockSettings()
    sweep: SweepSettings = SweepSettings()
    deltas: DeltaSettings = DeltaSettings()
    origin: str = ""
    """Base URL of the origin to publish to. Empty: the one that `playhead login` remembered below
    ``data``, or if there is none, straight into this machine's storage."""
    credentials_dir: Path = Path("~/.config/playhead")
    """Folder, for its owner alone, for what `playhead login` brings: keys and tokens, by origin."""
    http: ClientSettings = ClientSettings(stall_after=Seconds(120))


class Settings(Group, frozen=True):
    """The root."""

    data: Path = Path("playhead-data")
    """Folder for whatever this machine keeps: objects, caches, what the packager remembers."""
    log_json: bool = False
    """One JSON object per line instead of text for people."""
    storage: StorageSettings = StorageSettings()
    keys: KeysSettings = KeysSettings()
    leases: LeaseSettings = LeaseSettings()
    packager: PackagerSettings = PackagerSettings()
    console: ConsoleSettings = ConsoleSettings()
    origin: OriginSettings = OriginSettings()
    edge: EdgeSettings = EdgeSettings()
    engine: EngineSettings = EngineSettings()
    gate: GateSettings = GateSettings()
    entitlement: EntitlementSettings = EntitlementSettings()
    publishing: PublishingSettings = PublishingSettings()
    accounts: AccountsSettings = AccountsSettings()
