"""What an nginx can do: read from what ``nginx -V`` prints."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kit.errors import SettingsError

OLDEST = (1, 19, 10)
"""The first with all directives that are used, ``keepalive_time`` being the youngest."""

NEEDED = {"auth_request": "without it nobody can check leases"}
WANTED = {
    "slice": "bundles are fetched and kept whole: the first span of one waits for what is before it"
}
TLS = "ssl"


@dataclass(frozen=True, slots=True)
class NginxBuild:
    """A version, and the optional modules of HTTP that it was built with."""

    version: tuple[int, ...]
    modules: frozenset[str]

    @property
    def text(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))

    @property
    def lacking(self) -> dict[str, str]:
        """What it can do without, and what that means."""
        return {name: why for name, why in WANTED.items() if name not in self.modules}


ASSUMED = NginxBuild(OLDEST, frozenset({*NEEDED, *WANTED, TLS}))
"""For a configuration that is written where no nginx is."""


def parse_build(printed: str) -> NginxBuild:
    """Read what ``nginx -V`` prints.

    Raises:
        SettingsError: That was no nginx.
    """
    version = re.search(r"nginx version: \S+?/(\d+)\.(\d+)\.(\d+)", printed)
    if version is None:
        raise SettingsError(f"that is no nginx; it prints {printed[:200]!r}")
    modules = re.findall(r"--with-http_(\w+?)_module(?!=dynamic)\b", printed)
    return NginxBuild(tuple(map(int, version.groups())), frozenset(modules))


def check_build(build: NginxBuild, *, with_tls: bool) -> None:
    """Do nothing if ``build`` can be an edge.

    Raises:
        SettingsError: It is too old, or lacks what cannot be done without.
    """
    if build.version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise SettingsError(f"nginx {build.text} is too old; it must be {oldest} or later")
    needed = NEEDED | ({TLS: "without it there is no TLS"} if with_tls else {})
    for name, why in needed.items():
        if name not in build.modules:
            raise SettingsError(
                f"nginx {build.text} was built without its module http_{name}: {why};"
                " install a package that has it, such as nginx-light of Debian or nginx.org's own"
            )
