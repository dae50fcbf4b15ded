"""Who did what, when, and what came of it: lines that are only ever added.

One JSON object a line; a line is on the disk before what it tells of is answered. A file that has
grown enough is set aside under the time of its last line, and a new one begun; the oldest go. A
line that a power cut tore is passed over by readers.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from kit.clock import Clock
from kit.concurrency import to_its_end
from kit.disk_errors import disk_error
from kit.errors import Unavailable

CURRENT_NAME = "audit.jsonl"
FILE_MODE = 0o600


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line."""

    at: str
    """RFC 3339, UTC, to the millisecond."""
    who: str
    """The publisher; ``operator`` for who runs the platform."""
    grant: str = ""
    """By which of the publisher's logins."""
    what: str
    """A verb: put, head, delete, approve, ..."""
    on: str = ""
    """What it was done to: a key, a channel, a publisher."""
    outcome: str
    """``ok``, ``there`` if nothing had to be done, or the code of an error."""
    detail: str = ""
    size: int = 0
    """Bytes that were handed in."""
    digest: str = ""
    """BLAKE3 of those."""
    address: str = ""


class AuditLog:
    """Adds lines to a file in ``folder``. One process has it; one thread of ours writes."""

    def __init__(self, folder: Path, *, file_size_max: int, files_max: int, clock: Clock) -> None:
        self._folder = folder
        self._file_size_max = file_size_max
        self._files_max = files_max
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")

    async def close(self) -> None:
        """Let lines under way be written."""
        await asyncio.to_thread(self._thread.shutdown)

    async def note(
        self,
        *,
        who: str,
        what: str,
        outcome: str,
        on: str = "",
        grant: str = "",
        detail: str = "",
        size: int = 0,
        digest: str = "",
        address: str = "",
    ) -> None:
        """Add a line; once this returns it survives a power cut.

        Raises:
            OutOfSpace, Denied, Unavailable: It could not be written.
        """
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        event = Event(
            at=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            who=who,
            grant=grant,
            what=what,
            on=on,
            outcome=outcome,
            detail=detail[:500],
            size=size,
            digest=digest,
            address=address,
        )
        line = msgspec.json.encode(event) + b"\n"
        loop = asyncio.get_running_loop()
        await to_its_end(_awaited(loop.run_in_executor(self._thread, self._add, line)))

    def _add(self, line: bytes) -> None:
        path = self._folder / CURRENT_NAME
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            handle = os.open(path, flags, FILE_MODE)
            try:
                size = os.fstat(handle).st_size
                # A torn line ends here, so that it takes none of ours with it.
                torn = size > 0 and not _ends_line(path, size)
                os.write(handle, (b"\n" if torn else b"") + line)
                os.fsync(handle)
            finally:
                os.close(handle)
            if size + len(line) >= self._file_size_max:
                self._set_aside(path)
        except OSError as error:
            found = disk_error(error, path, when_full="free some space there", when_denied="")
            raise found or Unavailable(f"{path}: {error.strerror}") from error

    def _set_aside(self, path: Path) -> None:
        stamp = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y%m%dT%H%M%S.%f")
        path.rename(self._folder / f"audit-{stamp}.jsonl")
        for old in audit_files(self._folder)[: -self._files_max]:
            with suppress(FileNotFoundError):
                old.unlink()


def audit_files(folder: Path) -> list[Path]:
    """Return the files of a log, the oldest first; reads the folder."""
    aside = sorted(folder.glob("audit-*.jsonl"))
    current = folder / CURRENT_NAME
    return [*aside, current] if current.exists() else aside


def audit_events(folder: Path) -> Iterator[Event]:
    """Yield every line of a log, the oldest first; reads files."""
    for path in audit_files(folder):
        with path.open("rb") as lines:
            for line in lines:
                with suppress(msgspec.DecodeError, UnicodeDecodeError):
                    yield msgspec.json.decode(line, type=Event)


def _ends_line(path: Path, size: int) -> bool:
    with path.open("rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"


async def _awaited(future: asyncio.Future[None]) -> None:
    await future
