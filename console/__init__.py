"""The console: what a player's machine runs to install, update and mend a title."""
