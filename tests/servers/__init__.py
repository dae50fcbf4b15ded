"""Real servers that tests talk to, on 127.0.0.1, installed by ``make`` into ``.servers``."""
