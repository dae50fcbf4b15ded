"""The edge: a verified cache of the origin, near the players."""
