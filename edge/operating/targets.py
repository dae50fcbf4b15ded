"""What an operator's words name: a title, a release, an object, or whatever has an id. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from chunks.chunk_id import Digest
from kit.errors import InvalidInput, NotFound
from manifests import names
from manifests.addresses import Address, parse_path
from manifests.names import Channel, TitleId

LENGTH_MAX = 512
COUNTER_MAX = 9_999_999_999


@dataclass(frozen=True, slots=True)
class OfTitle:
    """All of a title, whichever release it belongs to: ``game``."""

    title: TitleId


@dataclass(frozen=True, slots=True)
class OfChannel:
    """The release that a channel plays: ``game@live``."""

    title: TitleId
    channel: Channel


@dataclass(frozen=True, slots=True)
class OfRelease:
    """A release by its counter: ``game@12``."""

    title: TitleId
    counter: int


@dataclass(frozen=True, slots=True)
class OfObject:
    """One object by its URL or path; a bundle's is the whole bundle."""

    address: Address


@dataclass(frozen=True, slots=True)
class OfId:
    """Whatever has this digest: a bundle with its slices, a slice, a root, a page, an index."""

    digest: Digest


Target: TypeAlias = OfTitle | OfChannel | OfRelease | OfObject | OfId


def parse_target(text: str) -> Target:
    """Read what an operator names.

    Raises:
        InvalidInput: It names nothing that could exist; the message says what would.
    """
    if len(text) > LENGTH_MAX:
        raise InvalidInput(f"{text[:80]!r}...: longer than anything that could be named")
    if "/" in text:
        return OfObject(_address(text))
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return OfId(Digest(bytes.fromhex(text)))
    title, at, which = text.partition("@")
    name = names.title_id(title)
    if not at:
        return OfTitle(name)
    if re.fullmatch(r"[0-9]{1,10}", which):
        return OfRelease(name, _counter(text, int(which)))
    return OfChannel(name, names.channel(which))


def _address(text: str) -> Address:
    path = re.sub(r"^https?://[^/?#]*", "", text)
    try:
        return parse_path(path)
    except NotFound as error:
        raise InvalidInput(
            f"{text[:200]!r}: no object can have this path; expected TITLE, TITLE@CHANNEL,"
            " TITLE@COUNTER, 64 hex digits, or an object's URL"
        ) from error


def _counter(text: str, counter: int) -> int:
    if not 1 <= counter <= COUNTER_MAX:
        raise InvalidInput(f"{text!r}: releases are counted from 1")
    return counter
