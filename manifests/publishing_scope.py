"""What a publisher may do: which titles, which channels, which verbs. Pure.

* ``push``: store bundles, manifests, releases and delta sets of these titles;
* ``release``: point these channels to a release;
* ``sweep``: delete what no channel needs.

Whoever may do any of it may read, and list, all that these titles have published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from kit.errors import Denied, Unauthenticated
from manifests.names import TITLE_PATTERN, Channel, TitleId
from manifests.trust_roles import PublisherId

Verb: TypeAlias = Literal["push", "release", "sweep"]
VERBS: tuple[Verb, ...] = ("push", "release", "sweep")
NAMES_MAX = 64
"""Titles, or channels, in one scope: it travels with every request."""

ISSUER, AUDIENCE = "playhead-accounts", "playhead-publishing"
"""Who signs tokens that carry a scope, and what for."""

_Name = Annotated[str, Meta(pattern=TITLE_PATTERN)]
_Names = Annotated[tuple[_Name, ...], Meta(min_length=1, max_length=NAMES_MAX)]


class Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was granted; a title or channel that is not named was not."""

    publisher: _Name
    titles: _Names
    channels: _Names
    verbs: Annotated[tuple[Verb, ...], Meta(min_length=1, max_length=len(VERBS))] = VERBS

    @property
    def publisher_id(self) -> PublisherId:
        """The publisher's name."""
        return PublisherId(self.publisher)

    def check_title(self, title: TitleId) -> None:
        """Do nothing if ``title`` is in scope.

        Raises:
            Denied: It is not.
        """
        if title not in self.titles:
            raise Denied(
                f"title {title} is not in what publisher {self.publisher} was granted here "
                f"({', '.join(self.titles)}): ask the platform's operator for it"
            )

    def check_verb(self, verb: Verb, title: TitleId) -> None:
        """Do nothing if ``verb`` may be done to ``title``.

        Raises:
            Denied: It may not; the message says which of both is lacking.
        """
        self.check_title(title)
        if verb not in self.verbs:
            raise Denied(
                f"publisher {self.publisher} may not {verb} here, only {', '.join(self.verbs)}: "
                "ask the platform's operator for it"
            )

    def check_channel(self, title: TitleId, channel: Channel) -> None:
        """Do nothing if ``channel`` of ``title`` may be pointed to a release.

        Raises:
            Denied: It may not; the message says what is lacking.
        """
        self.check_verb("release", title)
        if channel not in self.channels:
            raise Denied(
                f"channel {channel} is not in what publisher {self.publisher} was granted here "
                f"({', '.join(self.channels)}): ask the platform's operator for it"
            )


def claims_of(scope: Scope, grant_id: str) -> dict[str, Any]:
    """Return what an access token says of a scope; who signs it adds when it expires."""
    said = {"iss": ISSUER, "aud": AUDIENCE, "sub": scope.publisher, "grant": grant_id}
    return {**said, "scope": msgspec.to_builtins(scope)}


def scope_of(claims: Mapping[str, Any]) -> tuple[Scope, str]:
    """Return the scope and the grant that a verified access token carries.

    Raises:
        Unauthenticated: It carries none.
    """
    try:
        scope = msgspec.convert(claims.get("scope"), Scope)
    except msgspec.ValidationError as error:
        raise Unauthenticated("the token is of another version: log in again") from error
    return scope, str(claims.get("grant"))
