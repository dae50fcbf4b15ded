"""A ring of keys in a file that only its owner may read; every method blocks on the disk."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from kit.access_token import KEY_SIZE
from kit.clock import Clock
from kit.errors import NotFound
from kit.key_ring import KeyRing, RingKey, parse_ring
from kit.secret_files import folder_locked, read_secret, write_secret


class KeyRingFile:
    """The file at ``path``, which several processes may read and rotate."""

    def __init__(
        self, path: Path, clock: Clock, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self.path = path
        self._clock = clock
        self._random = random
        self._stamp: tuple[int, int, int] | None = None
        self._read = KeyRing()

    def read(self) -> KeyRing:
        """Return the ring as it is now; the file is read again only if it was replaced.

        Raises:
            NotFound: There is no such file.
            SettingsError: It is damaged, or others may read it.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError as error:
            raise NotFound(f"{self.path} does not exist: whoever signs makes it") from error
        stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
        if stamp != self._stamp:
            self._read = parse_ring(read_secret(self.path), str(self.path))
            self._stamp = stamp
        return self._read

    def signing(self) -> RingKey:
        """Return the key to sign with; a ring, or the day's new key, is made if there is none.

        Raises:
            SettingsError, Denied, OutOfSpace: It is damaged, or cannot be written.
        """
        ring = self.made()
        key = ring.signing(self._clock.now())
        assert key is not None  # a new one is never over
        return key

    def made(self) -> KeyRing:
        """Return the ring, made or rotated if that is due.

        Raises:
            SettingsError, Denied, OutOfSpace: It is damaged, or cannot be written.
        """
        ring = self._present()
        if not ring.is_due(self._clock.now()):
            return ring
        with folder_locked(self.path.parent):
            ring = self._present()
            if ring.is_due(self._clock.now()):
                ring = ring.rotated(self._clock.now(), self._random(KEY_SIZE))
                write_secret(self.path, ring.encode())
        return ring

    def _present(self) -> KeyRing:
        try:
            return self.read()
        except NotFound:
            return KeyRing()
