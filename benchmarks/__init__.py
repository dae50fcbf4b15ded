"""One file per claim. Each prints a table; ``--save`` also commits it to ``results/``."""
