"""The origin: a title's objects over HTTP, straight from object storage."""
