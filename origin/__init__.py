"""The origin: a title's objects over HTTP, straight from object storage."""

from origin.routes import bind
from origin.settings import OriginSettings

__all__ = ["OriginSettings", "bind"]
