"""Our exception hierarchy.

* PlayheadError
  x NotFound            404  the thing named does not exist
  x Conflict            409  the thing exists in a state that forbids this
  x Denied              403  the caller may not, and asking again will not help
    + Unauthenticated   401  the caller has not shown who it is, or what it may
  x InvalidInput        422  what was given breaks a rule; the message names the thing and the rule
    + FormatError            bytes are not what the format says they are
  x OutOfSpace          507  a disk is full
  x Unavailable         503  a dependency is down or slow: retry
  x IntegrityError      502  bytes do not match their digest: never use them
  x Untrusted           502  what an edge sent is not vouched for as it must be: never use it
  x SettingsError       500  the operator asked for something impossible
  x Interrupted         499  the user stopped it; the same command goes on from there

An error carries four facts, decided where it is raised and nowhere else: what happened
(``code``, stable and documented), what HTTP says about it (``status``), what a process
that ends by it returns (``exit_code``), and whether trying the same thing again may help
(``retryable``).
"""

from __future__ import annotations

from typing import ClassVar


class PlayheadError(Exception):
    """Base of everything we raise on purpose."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False


class NotFound(PlayheadError):  # noqa: N818 - the standard HTTP term
    """The thing named does not exist."""

    code = "not-found"
    status = 404
    exit_code = 3


class Conflict(PlayheadError):  # noqa: N818
    """The thing exists, in a state that forbids this."""

    code = "conflict"
    status = 409
    exit_code = 4


class Denied(PlayheadError):  # noqa: N818
    """The caller may not do this, and asking again will not help."""

    code = "denied"
    status = 403
    exit_code = 5


class Unauthenticated(Denied):
    """The caller has not shown who it is, or what it may; with ``challenge`` satisfied it may."""

    code = "unauthenticated"
    status = 401
    challenge: ClassVar[str] = "Bearer"
    """Of the header ``WWW-Authenticate``: RFC 9110, section 11.6.1."""


class InvalidInput(PlayheadError):  # noqa: N818
    """What was given breaks a rule; the message names the thing and the rule."""

    code = "invalid-input"
    status = 422
    exit_code = 6


class FormatError(InvalidInput):
    """Bytes are not what the format says they are; nothing of them may be used."""

    code = "format"


class OutOfSpace(PlayheadError):  # noqa: N818
    """A disk is full; nothing was lost, and the same command goes on once there is room."""

    code = "out-of-space"
    status = 507
    exit_code = 7


class Unavailable(PlayheadError):  # noqa: N818
    """A dependency is down or slow."""

    code = "unavailable"
    status = 503
    exit_code = 8
    retryable = True

    def __init__(self, message: str = "", *, retry_after_s: float = 0.0) -> None:
        """Say what is down; ``retry_after_s``: it asked not to be asked again for so long."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class IntegrityError(PlayheadError):
    """Bytes do not match their digest; they must never be used."""

    code = "integrity"
    status = 502
    exit_code = 9
    retryable = True


class Untrusted(PlayheadError):  # noqa: N818
    """Nobody vouches for it who must; the message names the file, the role and the rule."""

    code = "untrusted"
    status = 502
    exit_code = 10


class SettingsError(PlayheadError):
    """The operator asked for something impossible."""

    code = "settings"
    exit_code = 2


class Interrupted(PlayheadError):  # noqa: N818
    """The user stopped it; the same command goes on from there."""

    code = "interrupted"
    status = 499
    exit_code = 130
