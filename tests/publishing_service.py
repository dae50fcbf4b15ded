"""A publishing API inside the test's event loop, with tokens and rules of the test's choosing."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

import origin.publishing.routes
from kit.audit_log import AuditLog, Event, audit_events
from kit.buffers import Buffer
from kit.clock import SystemClock
from kit.errors import Unauthenticated
from kit.http_client import HttpClient
from kit.http_settings import ClientSettings
from kit.object_storage import ObjectStorage
from kit.object_storage.direct import Presigner
from kit.object_storage.remote import RemoteStorage
from kit.service import Binder
from manifests.publishing_scope import Scope
from origin.publishing.rules import Rules, TitleRules
from origin.publishing.settings import PublishingSettings
from origin.publishing.trust_desk import TrustDesk
from origin.registry import Registry
from tests.serving import LISTEN, Node, running

SCOPE = Scope(publisher="acme", titles=("game",), channels=("live",))


class NoRules:
    """Lets everybody do everything: what is left is object storage over HTTP."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def check_list(self, scope: Scope, prefix: str) -> None:
        pass

    def check_read(self, scope: Scope, key: str) -> None:
        pass

    def size_max(self, scope: Scope, key: str, *, is_once: bool) -> int:
        return 64 << 20

    def is_direct(self, key: str) -> bool:
        return True

    def is_noted(self, key: str) -> bool:
        return False

    def writing(self, key: str) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    async def check_put(self, scope: Scope, key: str, data: Buffer, *, is_once: bool) -> None:
        pass

    async def check_delete(self, scope: Scope, keys: Sequence[str]) -> None:
        pass


class FixedCredentials:
    """A token that never changes; ``renewals`` counts who asked for another."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.renewals = 0

    async def token(self) -> str:
        return self._token

    async def renewed(self, refused: str) -> str:
        self.renewals += 1
        raise Unauthenticated("no other token here")


@dataclass
class Service:
    """A running API: ``tokens`` says what each token grants."""

    node: Node
    client: HttpClient
    audit_folder: Path
    tokens: dict[str, Scope] = field(default_factory=lambda: {"token": SCOPE})

    def storage(self, token: str = "token") -> RemoteStorage:
        return RemoteStorage(self.node.url, self.client, FixedCredentials(token))

    async def audit(self) -> list[Event]:
        return await asyncio.to_thread(lambda: list(audit_events(self.audit_folder)))


@asynccontextmanager
async def running_service(
    storage: ObjectStorage,
    folder: Path,
    rules: Rules | None = None,
    *,
    presigner: Presigner | None = None,
    registry: Registry | None = None,
    settings: PublishingSettings | None = None,
) -> AsyncIterator[Service]:
    """Serve ``storage`` by the rules for titles, or by others."""
    binder, clock = Binder("origin", LISTEN), SystemClock()
    audit = AuditLog(folder / "audit", file_size_max=1 << 30, files_max=4, clock=clock)
    tokens: dict[str, Scope] = {"token": SCOPE}

    def check_token(token: str) -> tuple[Scope, str]:
        if token not in tokens:
            raise Unauthenticated("unknown token")
        return tokens[token], f"grant of {token}"

    async def open_registry() -> Registry | None:
        return registry

    desk = TrustDesk(storage, open_registry)
    origin.publishing.routes.bind(
        binder,
        storage,
        rules or TitleRules(storage, desk),
        desk,
        check_token=check_token,
        audit=audit,
        settings=settings or PublishingSettings(),
        presigner=presigner,
        clock=clock,
        random=secrets.token_bytes,
    )
    async with running(binder) as node, HttpClient(ClientSettings()) as client:
        yield Service(node, client, folder / "audit", tokens)
