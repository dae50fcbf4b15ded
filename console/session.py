"""What one call of the console has open: the locked folder, threads, edges, and what is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from console.durable import naming_disk_errors
from console.edge_memory import EdgeMemory
from console.fetcher import Fetcher
from console.heads import NewHeads
from console.installed import RECORD, Installed, read_installed, write_installed
from console.installer import Owned, Target
from console.journal import JOURNAL, Journal, Landed, Pending, read_journal, remove_journal
from console.leases import HeldLeases, Leases, LeaseSource
from console.patching import commit_by_script
from console.progress import Meter, Observer
from console.releases import Releases, manifest_digests
from console.settings import ConsoleSettings
from console.title_folder import TitleFolder
from console.workers import Workers
from kit.clock import Clock
from kit.concurrency import ungrouped
from kit.http_client import HttpClient
from manifests.names import Channel, TitleId


@dataclass
class Session:
    """One call at work on one folder."""

    settings: ConsoleSettings
    clock: Clock
    meter: Meter
    folder: TitleFolder
    workers: Workers
    fetcher: Fetcher
    releases: Releases
    at_rest: ExitStack
    """Closes what threads use, once they rest: cancelling a wait does not stop its thread."""
    owned: Owned | None = None
    pending: Pending | None = None

    def start(self, title: TitleId, channel: Channel) -> None:
        """Begin with a start call if an operation begins here, and does not go on."""
        if self.pending is None:
            installed = None if self.owned is None else self.owned.record.release.counter
            self.fetcher.start(title, channel, installed)

    async def settle(self) -> None:
        """Read what is there; if a commit was interrupted, finish it."""
        await self._read()
        if self.pending is not None and self.pending.intent is not None:
            await self._finish_commit(self.pending)
            await self._read()

    def finish(self) -> None:
        """End the operation under way: what is installed is all that is left. Blocks."""
        with self.folder.state.clone() as state:
            remove_journal(state)
        self.folder.drop_staging(frozenset())
        if self.owned is not None:
            record, build = self.owned.record, self.owned.build
            self.folder.drop_manifests(manifest_digests(record.release.root, build.root))

    async def _read(self) -> None:
        record, self.pending = await self.workers.run(self._read_records)
        if record is None:
            self.owned = None
        elif self.owned is None or self.owned.build.build_id != record.release.root.raw_digest:
            root = await self.releases.root(record.release)
            self.owned = Owned(record, await self.releases.build(record.release, root))
        else:
            self.owned = Owned(record, self.owned.build)

    def _read_records(self) -> tuple[Installed | None, Pending | None]:
        with self.folder.state.clone() as state:
            return read_installed(state), read_journal(state)

    async def _finish_commit(self, pending: Pending) -> None:
        release = pending.begin.release
        root = await self.releases.root(release)
        target = Target(release, pending.begin.channel, await self.releases.build(release, root))
        await self.workers.run(self._replay, pending, target)

    def _replay(self, pending: Pending, target: Target) -> None:
        assert pending.intent is not None
        with (
            self.folder.top.clone() as top,
            self.folder.state.clone() as state,
            self.folder.staging(target.build.build_id) as staging,
        ):
            self.folder.sync_manifests()
            journal = Journal.resume(state)
            try:
                record = commit_by_script(
                    top,
                    staging,
                    target,
                    pending.intent,
                    self.owned,
                    journal=journal,
                    carried=pending.carried,
                )
                write_installed(state, record)
                self.owned = Owned(record, target.build)
                journal.append(Landed())
            finally:
                journal.close()
        if len(record.groups) == len(target.build.shards):
            self.finish()


@asynccontextmanager
async def open_session(
    settings: ConsoleSettings,
    http: HttpClient,
    lease_source: LeaseSource,
    clock: Clock,
    path: Path,
    *,
    observer: Observer,
    new_heads: NewHeads,
    memory: EdgeMemory,
    held: HeldLeases,
    may_create: bool = False,
) -> AsyncIterator[Session]:
    """Open and lock the folder ``path``, and find out what is there.

    Whatever the block raises leaves it as one of our errors, threads at rest, lock released.
    """
    meter = Meter(clock, observer)
    leases = Leases(lease_source, settings, clock, held)
    fetcher = Fetcher(settings, http, leases, clock, meter, memory=memory)
    with naming_disk_errors(path, meter.bytes_left), ungrouped():
        async with Workers(settings.threads) as opening:
            folder = await opening.run(TitleFolder.open, path, may_create=may_create)
        at_rest = ExitStack()
        at_rest.callback(_leave, folder)
        try:
            async with Workers(settings.threads) as workers:
                heads = new_heads(fetcher, folder, workers, clock)
                releases = Releases(fetcher, folder, workers, heads)
                session = Session(
                    settings, clock, meter, folder, workers, fetcher, releases, at_rest
                )
                await session.settle()
                yield session
        finally:
            await fetcher.close()
            await leases.close()
            await asyncio.to_thread(at_rest.close)


def _leave(folder: TitleFolder) -> None:
    """Release the lock; if nothing was installed or begun, leave nothing behind either."""
    try:
        with folder.state.clone() as state:
            is_ours = state.status(RECORD) is not None or state.status(JOURNAL) is not None
        if not is_ours:
            folder.forget()
    finally:
        folder.close()
