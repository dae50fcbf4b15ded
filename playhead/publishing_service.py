"""Publishing as a service, put together: accounts, rules, registry and audit log of an origin."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

import origin.publishing.routes
import services.accounts.routes
from kit.audit_log import AuditLog
from kit.clock import SystemClock
from kit.object_storage import ObjectStorage
from kit.object_storage.direct import Presigner
from kit.service import Binder
from origin.publishing.rules import TitleRules
from origin.publishing.trust_desk import TrustDesk
from playhead.local_secrets import OPERATOR_FILE, local_secret
from playhead.settings import Settings
from playhead.trust import registry_for_renewal
from services.accounts.account_file import GrantFile, account_secrets
from services.accounts.accounts import Accounts
from services.accounts.grants import Grant


def audit_folder(settings: Settings) -> Path:
    """Return where the audit log of this machine's origin is."""
    return settings.data / "audit"


def bind(
    binder: Binder, settings: Settings, storage: ObjectStorage, presigner: Presigner | None
) -> None:
    """Let publishers that are elsewhere log in and publish into ``storage``."""
    clock = SystemClock()
    audit = AuditLog(
        audit_folder(settings),
        file_size_max=settings.publishing.audit_file_max_bytes,
        files_max=settings.publishing.audit_files_max,
        clock=clock,
    )

    async def note(*, what: str, grant: Grant, address: str) -> None:
        await audit.note(
            who="operator",
            what=what,
            on=grant.scope.publisher,
            outcome="ok",
            grant=grant.grant_id,
            detail=f"titles {', '.join(grant.scope.titles)}; {', '.join(grant.scope.verbs)}",
            address=address,
        )

    def open_accounts() -> Accounts:
        found = account_secrets(settings.data / settings.keys.dir)
        file = GrantFile(settings.data / "accounts")
        return Accounts(settings.accounts, found, file, clock=clock, random=secrets.token_bytes)

    check_token = services.accounts.routes.bind(
        binder,
        open_accounts,
        partial(local_secret, settings, OPERATOR_FILE),
        settings=settings.accounts,
        clock=clock,
        note=note,
    )
    desk = TrustDesk(storage, partial(registry_for_renewal, settings, storage))
    origin.publishing.routes.bind(
        binder,
        storage,
        TitleRules(storage, desk),
        desk,
        check_token=check_token,
        audit=audit,
        settings=settings.publishing,
        presigner=presigner,
        clock=clock,
        random=secrets.token_bytes,
    )
