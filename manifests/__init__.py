"""What a build is. Pure: it parses and writes, and performs no I/O."""
