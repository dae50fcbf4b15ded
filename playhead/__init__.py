"""The assembled product: settings, composition, one command line."""
