"""Modules that are loaded at their first use instead of at their import.

Some libraries import at once what few of their users ever need.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


@contextmanager
def loaded_late(name: str) -> Iterator[None]:
    """Have what imports the top-level module ``name`` within the block load it when it uses it.

    Afterwards an import is what it always is. Nothing changes if it is loaded already or is not
    installed. The lazy loader of the standard library does not do: up to Python 3.12.2 it loads a
    module as soon as a second one imports it.
    """
    if name in sys.modules or find_spec(name) is None:
        yield
        return
    sys.modules[name] = _Late(name)
    try:
        yield
    finally:
        del sys.modules[name]


class _Late(ModuleType):
    """Stands for a module; loads it when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        if name.startswith("__"):
            raise AttributeError(name)  # the import system looks for these and needs none
        return getattr(import_module(self.__name__), name)
