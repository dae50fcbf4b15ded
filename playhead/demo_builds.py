"""Two consecutive real releases of a game engine: what the demo publishes unless told otherwise."""

from __future__ import annotations

from pathlib import Path

from kit.errors import Unavailable
from playhead import wheels
from playhead.wheels import Wheel

OLD = Wheel(
    "panda3d", "1.10.15", "0969b3d452469d75a3b23dd451c47fa7efb806016cedd153946865798a69df70"
)
NEW = Wheel(
    "panda3d", "1.10.16", "8aa53ad6d83eaa750d84e8c1d84919c0f1167212208c836c15b998409cdb6a83"
)


def fetch(build: Wheel, into: Path) -> Path:
    """Return the folder of ``build`` below ``into``, fetching and unpacking it if it is not there.

    Raises:
        Unavailable: The package index could not be reached, or gave other bytes.
    """
    try:
        return wheels.fetch(build, into / f"{build.name}-{build.version}")
    except Unavailable as error:
        raise Unavailable(
            f"{error}; name two folders of your own with `make demo OLD=dir NEW=dir`"
        ) from error
