"""An edge: caches what the origin serves, near the players, and verifies every byte of it."""

from edge.routes import bind
from edge.settings import EdgeSettings

__all__ = ["EdgeSettings", "bind"]
