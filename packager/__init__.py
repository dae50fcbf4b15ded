"""Build in, release out: the publisher's side."""
