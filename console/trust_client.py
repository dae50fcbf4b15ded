"""The Update Framework's client, unmodified, over documents that a source brings.

It works in a folder of its own as the library does: ``root.json`` and what else it believes, by
role. Everything here blocks, and belongs to one thread.

The library takes a tenth of a second to import: who may do without imports this when it must. It
would be two tenths with what signs by keys in a cloud: verifying needs none of that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib import parse

import msgspec

from console.trust_sources import METADATA, TARGETS, Source
from kit.errors import NotFound, Unavailable, Untrusted
from kit.late_imports import loaded_late
from manifests.trust import time_text

with loaded_late("boto3"):
    from tuf.api.exceptions import (
        DownloadError,
        DownloadHTTPError,
        ExpiredMetadataError,
        RepositoryError,
    )
    from tuf.api.metadata import TargetFile
    from tuf.ngclient.config import UpdaterConfig
    from tuf.ngclient.fetcher import FetcherInterface
    from tuf.ngclient.updater import Updater

Check = Callable[[str, str, bytes], None]
"""Raises if a document, by the name of its file and its role, must not reach the library."""


class TrustClient:
    """One visit to a repository of trust."""

    def __init__(
        self,
        folder: Path,
        anchor: bytes,
        source: Source,
        *,
        now_s: float,
        check: Check,
        target_folder: Path | None = None,
    ) -> None:
        """Work in ``folder``, with ``anchor`` as the root that is trusted for being given here.

        ``now_s`` is the time that expiry is judged by: Unix epoch, seconds.
        """
        self._folder = folder
        self._now_s = now_s
        self._fetcher = _Fetcher(source, check)
        with self._refusing():
            self._updater = Updater(
                str(folder),
                METADATA,
                None if target_folder is None else str(target_folder),
                TARGETS,
                fetcher=self._fetcher,
                config=UpdaterConfig(),
                bootstrap=anchor,
            )
        # Time is an argument; the library has no way to be told but this.
        self._updater._trusted_set.reference_time = datetime.fromtimestamp(now_s, UTC)

    def refresh(self) -> None:
        """Steps 2 and 3: believe newer roots, then timestamp, snapshot and targets.

        Raises:
            Untrusted: Something is not signed by who must, older than what was believed before,
                expired, missing or damaged.
            Unavailable: It cannot be fetched.
        """
        with self._refusing():
            self._updater.refresh()

    def target(self, path: str) -> TargetFile | None:
        """Return what the roles that may speak of ``path`` say of it; None if nothing.

        Raises: as :meth:`refresh`.
        """
        with self._refusing():
            return self._updater.get_targetinfo(path)

    def download(self, path: str) -> None:
        """Bring the target ``path`` into the target folder, unless just that is there already.

        Raises: as :meth:`refresh`; Untrusted also if nobody vouches for it.
        """
        found = self.target(path)
        if found is None:
            raise Untrusted(f"{path}: no role vouches for it")
        with self._refusing():
            if self._updater.find_cached_target(found) is None:
                self._updater.download_target(found)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn what the library raises into errors that name the file and the role."""
        try:
            yield
        except ExpiredMetadataError as error:
            raise Untrusted(self._expiry_text(str(error))) from error
        except RepositoryError as error:
            raise Untrusted(f"{self._fetcher.last_name}: {error}") from error
        except DownloadHTTPError as error:
            raise Untrusted(
                f"{self._fetcher.last_name}: no edge has it, and without it nothing is vouched for"
            ) from error
        except DownloadError as error:
            raise Unavailable(f"{self._fetcher.last_name}: {error}") from error

    def _expiry_text(self, said: str) -> str:
        """Say what expired, when, and what the clock says: it may be the clock that is wrong."""
        named = re.search(r"(\S+?)(?:\.json)? is expired", said)
        role = named[1] if named else ""
        document = self._fetcher.seen.get(role) or self._kept(role)
        expired = _expiry(document)
        when = f" on {expired}" if expired else ""
        return (
            f"{role}.json expired{when}, and this console's clock says {time_text(self._now_s)}:"
            " check the clock; if it is right, the edge serves what is out of date"
        )

    def _kept(self, role: str) -> bytes:
        try:
            return (self._folder / f"{parse.quote(role, '')}.json").read_bytes()
        except OSError:
            return b""


class _Fetcher(FetcherInterface):
    """Asks the source for what the library wants; remembers it to name it in refusals."""

    def __init__(self, source: Source, check: Check) -> None:
        self._source = source
        self._check = check
        self.last_name = "root.json"
        self.seen: dict[str, bytes] = {}
        """By role, the last document that the library was given."""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return the document at ``url``; the limit is kept before the bytes are here."""
        name = url.removeprefix(METADATA)
        self.last_name = name
        document = self._get(url, max_length)
        role = role_of(name)
        self._check(name, role, document)
        self.seen[role] = document
        return document

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Return a target, for the library's ``download_file``, which bounds it again."""
        self.last_name = url
        yield self._get(url, TARGET_SIZE_MAX)

    def _get(self, url: str, size_max: int) -> bytes:
        try:
            return self._source.get(url, size_max)
        except NotFound as error:
            raise DownloadHTTPError(str(error), 404) from error


TARGET_SIZE_MAX = 16 << 20
"""Of what conformance suites have clients download. Consoles download no targets: what is vouched
for, a release document, comes with the head."""


def role_of(name: str) -> str:
    """Return the role whose document has the file name ``name``, with or without a version."""
    version, _, rest = name.removesuffix(".json").partition(".")
    return parse.unquote(rest if version.isdecimal() and rest else name.removesuffix(".json"))


def _expiry(document: bytes) -> str:
    try:
        return msgspec.json.decode(document, type=_Document).signed.expires
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


class _Signed(msgspec.Struct):
    expires: str


class _Document(msgspec.Struct):
    signed: _Signed
