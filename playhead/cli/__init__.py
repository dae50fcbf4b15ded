"""The command line: one thin file per group of commands, with no logic in it."""
