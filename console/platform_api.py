"""The console as a library: install, update, verify, repair, uninstall, status.

Every call names a folder, works under its lock, and may be stopped at any moment, by an
exception, a cancel or a kill: the same call goes on from there.

::

    release of the channel -> manifest -> inventory of what is here -> plan -> transfer -> commit
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

from console.durable import naming_disk_errors
from console.edge_memory import EdgeMemory
from console.heads import NewHeads
from console.installer import remove_installed
from console.inventory import take_inventory
from console.leases import HeldLeases, LeaseSource
from console.operation import Operation
from console.planner import Plan
from console.progress import Observer, ignore
from console.reports import Removal, Report, Status, Verification
from console.session import Session, open_session
from console.settings import ConsoleSettings
from console.status import status_of
from console.trust import TrustedHeads
from kit.clock import Clock, SystemClock
from kit.errors import Conflict, NotFound
from kit.http_client import HttpClient
from manifests.names import Channel, TitleId


class Console:
    """One player's machine. Belongs to one event loop; its calls may run side by side."""

    def __init__(
        self,
        settings: ConsoleSettings,
        http: HttpClient,
        leases: LeaseSource,
        clock: Clock | None = None,
        new_heads: NewHeads | None = None,
        *,
        memory: EdgeMemory | None = None,
    ) -> None:
        """Believe what ``settings`` say is to be trusted, unless ``new_heads`` says what is.

        ``memory`` is what an earlier console remembered of edges.
        """
        self._settings = settings
        self._http = http
        self._leases = leases
        self._clock = clock or SystemClock()
        self._memory = memory or EdgeMemory(self._clock)
        self._held = HeldLeases()
        self._new_heads = new_heads or partial(TrustedHeads, settings)

    async def install(
        self, title: TitleId, folder: Path, *, channel: Channel, observer: Observer = ignore
    ) -> Report:
        """Bring ``folder`` to what ``channel`` points to, whatever of the title is there already.

        Raises:
            NotFound: No edge knows the title or the channel.
            Conflict: Another title is installed there, a file that is not ours is in the way,
                another console is at work, or the channel went back to an older release.
            OutOfSpace: Before it starts or on the way; what was done is kept.
            Denied: The folder cannot be written.
            Unavailable: No edge answered for long enough; what was done is kept.
            IntegrityError: What is kept in the folder about its installation is damaged.
            FormatError: The build breaks a rule, or is of a later format.
            Untrusted: Not both publisher and platform vouch for it.
            SettingsError: The console has no trusted root.
        """
        async with self._session(folder, observer, may_create=True) as session:
            operation = await self._install(session, title, channel, starts=True)
            return await operation.run()

    async def plan(self, title: TitleId, folder: Path, *, channel: Channel) -> Plan:
        """Return what :meth:`install` would do now, exactly; the title's files stay as they are.

        Raises: as :meth:`install`.
        """
        async with self._session(folder, ignore, may_create=True) as session:
            operation = await self._install(session, title, channel)
            return (await operation.plan()).plan

    async def update(
        self, folder: Path, *, channel: Channel | None = None, observer: Observer = ignore
    ) -> Report:
        """Bring the title in ``folder`` to what its channel, or another one, points to now.

        The old version stays playable until everything is here; and until the new one is in
        place, unless there is so little room that files are changed in place.

        Raises: as :meth:`install`; NotFound also if nothing is installed in ``folder``.
        """
        async with self._session(folder, observer) as session:
            title, followed = _title_in(session)
            session.start(title, channel or followed)
            head = await session.releases.head(title, channel or followed)
            operation = Operation(session, "update", head.release, head.channel, deltas=head.deltas)
            return await operation.run()

    async def verify(self, folder: Path) -> Verification:
        """Read every installed byte and return what is wrong. Changes nothing.

        Raises:
            NotFound: Nothing is installed in ``folder``.
        """
        async with self._session(folder, ignore) as session:
            owned = session.owned
            if owned is None:
                raise _nothing_in(folder)
            inventory = await take_inventory(
                session.folder.top, owned.record, owned.build, session.workers, is_thorough=True
            )
            return Verification(
                title=owned.record.release.title,
                version=owned.record.release.version,
                build_id=owned.build.build_id.hex(),
                checked_bytes=inventory.read_size,
                elapsed_s=session.meter.elapsed_s(),
                wounds=inventory.wounds,
            )

    async def repair(self, folder: Path, *, observer: Observer = ignore) -> Report:
        """Mend what :meth:`verify` finds; only chunks that are nowhere else here are fetched.

        Raises: as :meth:`install`; Conflict also while an update to another build is under way.
        """
        async with self._session(folder, observer) as session:
            owned, pending = session.owned, session.pending
            if owned is None:
                raise _nothing_in(folder)
            if pending is not None and pending.build_id != owned.build.build_id:
                raise Conflict(
                    f"{folder}: an update to {pending.begin.release.version} is under way;"
                    " finish it with `update`, then repair"
                )
            record = owned.record
            operation = Operation(
                session, "repair", record.release, record.channel, is_thorough=True
            )
            return await operation.run()

    async def uninstall(self, folder: Path) -> Removal:
        """Remove the files the console installed, folders it made that are empty then, its state.

        Raises:
            NotFound: The console has nothing in ``folder``.
        """
        async with self._session(folder, ignore) as session:
            title, _ = _title_in(session)
            return await session.workers.run(_remove, session, title)

    async def status(self, folder: Path) -> Status:
        """Return what is in ``folder``; works beside a console that is busy with it.

        Raises:
            NotFound: The console has nothing in ``folder``.
        """

        def read() -> Status:
            with naming_disk_errors(folder):
                return status_of(folder)

        return await asyncio.to_thread(read)

    def _session(
        self, folder: Path, observer: Observer, *, may_create: bool = False
    ) -> AbstractAsyncContextManager[Session]:
        return open_session(
            self._settings,
            self._http,
            self._leases,
            self._clock,
            folder,
            observer=observer,
            new_heads=self._new_heads,
            memory=self._memory,
            held=self._held,
            may_create=may_create,
        )

    async def _install(
        self, session: Session, title: TitleId, channel: Channel, *, starts: bool = False
    ) -> Operation:
        """Return the operation; one that only is to be planned ``starts`` nothing."""
        if session.owned is not None or session.pending is not None:
            present, _ = _title_in(session)
            if present != title:
                raise Conflict(f"{session.folder.path}: {present} is installed here, not {title}")
        if starts:
            session.start(title, channel)
        head = await session.releases.head(title, channel)
        return Operation(session, "install", head.release, head.channel, deltas=head.deltas)


def _title_in(session: Session) -> tuple[TitleId, Channel]:
    """Return the title a folder holds, or is about to, and the channel it follows."""
    if session.owned is not None:
        return session.owned.record.release.title, session.owned.record.channel
    if session.pending is not None:
        return session.pending.begin.release.title, session.pending.begin.channel
    raise _nothing_in(session.folder.path)


def _nothing_in(folder: Path) -> NotFound:
    return NotFound(f"{folder}: nothing is installed here")


def _remove(session: Session, title: TitleId) -> Removal:
    removed: int = 0
    left: list[str] = []
    if session.owned is not None:
        with session.folder.top.clone() as top:
            removed, left = remove_installed(top, session.owned)
    session.folder.forget()
    return Removal(title, removed, tuple(sorted(left)))
