"""The origin: what was published, over HTTP, straight from object storage."""
