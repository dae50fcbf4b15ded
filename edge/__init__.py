"""An edge: caches what the origin serves, near the players, and verifies every byte of it."""
