"""Open files of segments: a few, those used last. Belongs to the event loop."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass

from edge.store.segments import Segment


@dataclass(slots=True)
class OpenFile:
    """A file that threads may be reading; it is closed once none does."""

    number: int
    users: int = 0
    is_kept: bool = True


class SegmentFiles:
    """Files by segment. Whoever opens one, in a thread, hands it over by :meth:`keep`."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._files: OrderedDict[Segment, OpenFile] = OrderedDict()

    def get(self, segment: Segment) -> OpenFile | None:
        """Return the file of ``segment`` if it is open."""
        file = self._files.get(segment)
        if file is not None:
            self._files.move_to_end(segment)
        return file

    def keep(self, segment: Segment, number: int) -> None:
        """Keep a file that was opened; another is closed if there are too many."""
        if segment in self._files:  # two threads opened it at once
            os.close(number)
            return
        self._files[segment] = OpenFile(number)
        while len(self._files) > self._count_max:
            _, file = self._files.popitem(last=False)
            _let_go(file)

    def release(self, file: OpenFile) -> None:
        """Say that a thread reads ``file`` no more; ``users`` was raised before it began."""
        file.users -= 1
        if not file.is_kept and not file.users:
            os.close(file.number)

    def forget(self, segment: Segment) -> None:
        """Close the file of a segment that is gone."""
        file = self._files.pop(segment, None)
        if file is not None:
            _let_go(file)

    def close(self) -> None:
        """Close all."""
        while self._files:
            self.forget(next(iter(self._files)))


def _let_go(file: OpenFile) -> None:
    file.is_kept = False
    if not file.users:
        os.close(file.number)
